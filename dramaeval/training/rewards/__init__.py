"""Rewards of GRPO, one a file: how good a written answer is."""
