"""The metrics. `metric.py` defines the interface and describes how to add a metric; `standard.py` lists them."""
