"""Sweeps: their folders, the states of their runs, the table, grids and searches."""
