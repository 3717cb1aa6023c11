"""What a run says: short lines on the terminal, dated ones in ``train.log``, progress with time left."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import TextIO

from dramaeval.config.secrets import without_secrets
from dramaeval.data.durations import duration

log = logging.getLogger(__name__)

_QUIET = ("httpx", "filelock", "urllib3", "fsspec", "matplotlib", "datasets", "numba", "DeepSpeed")


def set_up(file: Path, *, speaks: bool = True) -> None:
    """Send the project's messages to the terminal and, with those of the libraries, to a file.

    Args:
        file: the log.
        speaks: whether there is a terminal; without, whatever else is printed goes to the file too.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    terminal = _Terminal(sys.stdout)
    terminal.setFormatter(_Masked("%(message)s"))
    terminal.addFilter(_for_the_terminal)
    kept = _File(file, encoding="utf-8")
    kept.setFormatter(_Masked("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    sys.excepthook = _masked_traceback  # what is printed may go to a file, as under SLURM
    if speaks:
        root.addHandler(terminal)
    else:
        with file.open("ab") as printed:
            os.dup2(printed.fileno(), sys.stdout.fileno())
            os.dup2(printed.fileno(), sys.stderr.fileno())
    root.addHandler(kept)
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # It complains of a kernel package that only speeds up 4-bit inference on CPU.
    logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)
    # It keeps a log of its own.
    logging.getLogger("wandb").propagate = False
    logging.captureWarnings(True)
    threading.excepthook = _ended_thread
    # Python warnings are for developers: they belong in the file.
    logging.getLogger("py.warnings").addFilter(_lower)


class _Terminal(logging.StreamHandler[TextIO]):
    """The terminal; when it is gone (``… | head``) or its file cannot be written, the run goes on without."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)
            return
        self.setLevel(logging.CRITICAL + 1)
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            # Python would complain when it flushes the stream at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


class _File(logging.FileHandler):
    """The log file; when it cannot be written, the run says so once and goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self.setLevel(logging.CRITICAL + 1)
        log.warning("%s cannot be written (%s): the rest is not in it.", self.baseFilename, error)


def _ended_thread(about: threading.ExceptHookArgs) -> None:
    """A thread that could not write (TensorBoard's): its error is raised in the run again, and shown there."""
    if isinstance(about.exc_value, OSError):
        error = (about.exc_type, about.exc_value, about.exc_traceback)
        log.error("A thread ended.", exc_info=error, extra={"only_in_file": True})
        return
    threading.__excepthook__(about)


class _Masked(logging.Formatter):
    """Lines, and tracebacks with them, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        return without_secrets(super().format(record))


def _masked_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """As `sys.excepthook` prints an error that nobody caught, without secrets."""
    text = "".join(traceback.format_exception(kind, error, trace))
    print(without_secrets(text), end="", file=sys.stderr, flush=True)


def _for_the_terminal(record: logging.LogRecord) -> bool:
    if getattr(record, "only_in_file", False):
        return False
    return record.name.startswith("dramaeval") or record.levelno >= logging.ERROR


def _lower(record: logging.LogRecord) -> bool:
    record.levelno, record.levelname = logging.INFO, "INFO"
    return True


class Progress:
    """Says how far a long piece of work is and how long it will still take.

    Args:
        what: what is being done, for the line.
        total: how many pieces there are.
        unit: what a piece is called.
        every: seconds between two lines.
    """

    def __init__(self, what: str, total: int, unit: str, every: float = 10.0) -> None:
        self.what, self.total, self.unit, self.every = what, total, unit, every
        self.done = 0
        self.began = self.said = time.monotonic()

    def __call__(self, pieces: int) -> None:
        """So many more pieces are done."""
        self.done += pieces
        now = time.monotonic()
        if now - self.said >= self.every and self.done < self.total:
            self.said = now
            left = (now - self.began) / self.done * (self.total - self.done)
            log.info(
                "%s: %d of %d %s, %s left",
                self.what,
                self.done,
                self.total,
                self.unit,
                duration(left),
            )

    def finish(self) -> None:
        """Say that it is done and how long it took."""
        took = duration(time.monotonic() - self.began)
        log.info("%s: %d %s in %s", self.what, self.done, self.unit, took)
