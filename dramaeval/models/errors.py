"""What goes wrong with models, in words for the user."""

from __future__ import annotations


class ModelError(ValueError):
    """A model cannot be had as it is asked for; the message says why and what to do."""
