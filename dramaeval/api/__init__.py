"""The Python API: the classes and functions that ``from dramaeval import …`` offers."""
