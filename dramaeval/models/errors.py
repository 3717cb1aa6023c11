"""What goes wrong with models, in words for the user."""

from __future__ import annotations

from dramaeval.errors import UserFacingError


class ModelError(UserFacingError, ValueError):
    """A model cannot be had as it is asked for; the message says why and what to do."""
