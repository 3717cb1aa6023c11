"""Measurements of the 7B's true size on one GPU of 80 GB or more: `python -m benchmarks.gpu`."""
