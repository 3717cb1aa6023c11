"""How the bundled assets are made; nothing in dramaeval imports this.

`python -m recipes.sample` makes the sample, `python -m recipes.tiny_judge` the tiny judge.
"""
