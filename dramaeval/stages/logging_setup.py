"""Logging of a run: short lines on the terminal, and dated lines, including those of libraries, in ``train.log``."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType
from typing import TextIO

from dramaeval.config.secrets import without_secrets

log = logging.getLogger(__name__)

_QUIET = ("httpx", "filelock", "urllib3", "fsspec", "matplotlib", "datasets", "numba", "DeepSpeed")


def set_up_logging(file: Path, *, terminal: bool = True) -> None:
    """Send dramaeval's messages to the terminal, and all messages to a file.

    Args:
        terminal: whether this process writes to the terminal; if not, its standard output and standard error
            also go to the file.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    if terminal:
        terminal_handler = _TerminalHandler(sys.stdout)
        terminal_handler.setFormatter(_MaskingFormatter("%(message)s"))
        terminal_handler.addFilter(_is_for_terminal)
        root.addHandler(terminal_handler)
    else:
        with file.open("ab") as output:
            os.dup2(output.fileno(), sys.stdout.fileno())
            os.dup2(output.fileno(), sys.stderr.fileno())
    file_handler = _LogFileHandler(file, encoding="utf-8")
    file_handler.setFormatter(_MaskingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(file_handler)
    root.setLevel(logging.INFO)
    sys.excepthook = _print_masked_traceback  # standard error may be a file, as under SLURM
    threading.excepthook = _log_thread_error
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addFilter(_lower_to_info)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # bitsandbytes warns about a missing package that only speeds up 4-bit inference on a CPU.
    logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)
    # W&B has a separate log.
    logging.getLogger("wandb").propagate = False


class _TerminalHandler(logging.StreamHandler[TextIO]):
    """Stops writing if the terminal is closed (``… | head``) or cannot be written; the run continues."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
            return
        self.setLevel(logging.CRITICAL + 1)
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            # Python flushes the stream when it ends, and would print an error.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


class _LogFileHandler(logging.FileHandler):
    """Stops writing, with one message, if the log cannot be written; the run continues."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self.setLevel(logging.CRITICAL + 1)
        log.warning(
            "%s cannot be written (%s): further messages are not in it.", self.baseFilename, error
        )


class _MaskingFormatter(logging.Formatter):
    """Masks secrets in messages and tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def _print_masked_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    print(without_secrets(text), end="", file=sys.stderr, flush=True)


def _log_thread_error(failure: threading.ExceptHookArgs) -> None:
    """Log a write error in a thread (TensorBoard's) to the file only, since the next write raises it in the run."""
    if isinstance(failure.exc_value, OSError):
        error = (failure.exc_type, failure.exc_value, failure.exc_traceback)
        log.error("A thread ended.", exc_info=error, extra={"only_in_file": True})
        return
    threading.__excepthook__(failure)


def _is_for_terminal(record: logging.LogRecord) -> bool:
    if getattr(record, "only_in_file", False):
        return False
    return record.name.startswith("dramaeval") or record.levelno >= logging.ERROR


def _lower_to_info(record: logging.LogRecord) -> bool:
    """Lower the level of Python's warnings, which are for developers, so that only the file shows them."""
    record.levelno, record.levelname = logging.INFO, "INFO"
    return True
