"""Configuration: the schema of all settings, composition, and the basis of all checks."""
