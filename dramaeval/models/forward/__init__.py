"""The forward pass: answer logits, shared prefixes, the regression head, generation."""
