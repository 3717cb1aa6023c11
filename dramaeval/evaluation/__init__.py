"""Agreement of a judge with people: scoring, predictions, metrics, intervals, controls and reports."""
