"""Parameters, operations and memory of a run, before any weights are read."""
