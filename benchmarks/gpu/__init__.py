"""What is asked of a GPU that is there for a quarter of an hour, in three calls of a few minutes.

- check: does it work?  - measure: how fast is it?  - more: what takes longer.

`parts` says what each call runs, in which order and for how long; `plan` counts it without a GPU;
`run` runs it, part by part, and leaves the evidence in one folder.
"""
