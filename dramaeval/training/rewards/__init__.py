"""Rewards of GRPO, one a file."""
