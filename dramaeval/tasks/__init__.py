"""Tasks: the questions about a record, from rubrics, prompts and label policies."""
