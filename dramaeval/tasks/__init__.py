"""Tasks: what is asked about a record. Rubrics, prompts and label policies; nothing of models."""
