"""The published module's Python classes and functions, with its signatures, on top of this project's parts."""
