"""The recipe of the tiny judge: `python -m recipes.tiny_judge`."""
