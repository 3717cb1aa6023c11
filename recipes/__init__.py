"""Recipes that build the bundled assets; nothing in dramaeval imports them.

`python -m recipes.sample` makes the sample, `python -m recipes.tiny_judge` the tiny judge.
"""
