"""Model families, one file per architecture; `base` is the interface."""
