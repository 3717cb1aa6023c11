"""Checks of what `dramaeval.compat` assumes about other libraries."""

from contextlib import contextmanager

import pytest


@contextmanager
def contract(entry):
    """Run a check in the ``with`` block; if it fails, fail with the docstring of ``entry`` of `dramaeval.compat`."""
    try:
        yield
    except (Exception, pytest.fail.Exception) as error:
        raise AssertionError(f"{entry.__module__}.{entry.__name__}: {entry.__doc__}") from error
