"""Processes that work on one run together: who they are, how they start, how they end."""
