"""Errors of models."""

from __future__ import annotations

from dramaeval.errors import UserFacingError


class ModelError(UserFacingError, ValueError):
    """A model cannot be loaded or used as configured; the message states why and the fix."""
