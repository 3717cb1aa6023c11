"""Configuration: the typed root of the config tree, and every check that can be made before weights load."""
