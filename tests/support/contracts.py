"""Checks of what `dramaeval.compat` assumes about other libraries."""

from contextlib import contextmanager

import pytest


@contextmanager
def contract(entry):
    """Fail with the text of an entry of `dramaeval.compat` where its assumption no longer holds."""
    try:
        yield
    except (Exception, pytest.fail.Exception) as error:
        raise AssertionError(f"{entry.__module__}.{entry.__name__}: {entry.__doc__}") from error
