"""Group relative policy optimisation: the trainer and its collaborators."""
