"""Metrics and rankings of a judge that compares two clips."""
