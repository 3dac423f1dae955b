"""The tasks of the scaling study."""
