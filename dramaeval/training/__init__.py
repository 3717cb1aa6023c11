"""Training: objectives, the trainers that extend TRL's, what they log and how they resume."""
