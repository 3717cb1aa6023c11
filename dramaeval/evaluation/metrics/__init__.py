"""The metrics, one a file. `metric.py` says what a metric is, and how to add your own."""
