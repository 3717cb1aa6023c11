"""Private parts of other libraries: one module per library, one contract test per entry.

Each entry states what it reaches or replaces, why, since which version, and when it can be removed.
"""
