"""Loading judges, the audio front end, packed sequences, answer logits; the tiny judge."""
