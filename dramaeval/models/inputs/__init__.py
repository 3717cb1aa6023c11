"""From records to batches: prompts as tokens, clips as features, collation."""
