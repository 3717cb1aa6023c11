"""Errors that the user can mend are said in words; everything else keeps its traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dramaeval.run.secrets import without_secrets


@contextmanager
def in_words() -> Iterator[None]:
    """Turn the errors that are meant for the user into one message and exit code 1."""
    from dramaeval.cluster.workers import WorkerError
    from dramaeval.config.check import ConfigError
    from dramaeval.data.problems import BadRecordsError
    from dramaeval.evaluation.predictions import PredictionsError
    from dramaeval.models.loading import ModelError
    from dramaeval.models.trouble import TroubleError

    try:
        yield
    except (
        BadRecordsError,
        ConfigError,
        ModelError,
        PredictionsError,
        TroubleError,
        WorkerError,
    ) as error:
        raise SystemExit(f"\n{without_secrets(str(error))}") from None
