"""Decodes the bytes of uploaded clips; paths in a request are never opened."""

from __future__ import annotations

import base64
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dramaeval.data.audio import UnreadableClipError, decode
from dramaeval.data.durations import MIN_SECONDS, beside

#: Seconds after the limit that are decoded, so that a clip that is too long is recognised.
_BEYOND = 0.5


class RequestError(Exception):
    """A request cannot be answered.

    Attributes:
        problems: all problems, in the client's terms.
        status: the status of the HTTP response.
    """

    def __init__(self, problems: list[str], status: int = 422) -> None:
        super().__init__(*problems)
        self.problems, self.status = problems, status


@dataclass(frozen=True)
class Upload:
    """The bytes of one clip, and its place in the request for messages."""

    content: bytes
    where: str


def from_base64(text: str, where: str) -> Upload:
    """The clip in a JSON text.

    Raises:
        RequestError: the text is not base64.
    """
    try:
        return Upload(base64.b64decode(text, validate=True), where)
    except ValueError:
        raise RequestError(
            [
                f"{where} must be the bytes of an audio file in base64; this server opens no paths and no addresses."
            ]
        ) from None


@dataclass(frozen=True, kw_only=True)
class ClipReader:
    """Decodes clips for a judge.

    Attributes:
        rate: sampling rate of the judge, in Hz.
        max_seconds: the longest clip.
        trims: whether the judge takes the beginning of a longer clip (``task.data.on_long=trim``).
    """

    rate: int
    max_seconds: float
    trims: bool = False

    def read(self, upload: Upload) -> np.ndarray:
        """The samples of a clip, float32 ``[samples]`` at `rate`.

        Raises:
            RequestError: the bytes are not audio, or the clip is damaged, too short or too long.
        """
        limit = self.max_seconds + (0 if self.trims else _BEYOND)
        with tempfile.NamedTemporaryFile(prefix="dramaeval-clip-") as file:
            file.write(upload.content)
            file.flush()
            try:
                samples = decode(Path(file.name), self.rate, max_seconds=limit)
            except UnreadableClipError as error:
                raise RequestError([f"{upload.where}: {error.reason}; {error.fix}."]) from None
        seconds = len(samples) / self.rate
        if seconds < MIN_SECONDS:
            shown = beside(seconds, MIN_SECONDS)
            raise RequestError([f"{upload.where} lasts {shown} s, less than {MIN_SECONDS:g} s."])
        if not self.trims and seconds > self.max_seconds:
            raise RequestError(
                [f"{upload.where} lasts more than {self.max_seconds:g} s: cut it."], status=413
            )
        return samples
