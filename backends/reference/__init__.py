"""The specification: every primitive once, in the lecture's lines, on any Array API namespace.

Nothing here knows a device. Each function takes the namespace `xp` first, then arrays of that
namespace, and never writes to its inputs, except `updates`, whose purpose is to write.
"""
