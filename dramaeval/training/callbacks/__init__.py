"""Callbacks of the trainers: progress, loggers, AdaLoRA, debugging."""
