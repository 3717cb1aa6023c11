"""Several processes that work on one run: ranks, locks, signals, preemption, ZeRO."""
