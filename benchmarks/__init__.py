"""Measurements of speed, memory and correlation, outside the test suite."""
