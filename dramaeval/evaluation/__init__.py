"""How well a judge agrees with people: predictions, metrics, intervals, tables."""
