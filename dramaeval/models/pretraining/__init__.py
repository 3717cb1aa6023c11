"""The recipe of the tiny judge: `python -m dramaeval.models.pretraining`."""
