"""Launchers (this machine, SLURM), sweeps and searches."""
