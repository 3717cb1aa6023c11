"""Counts the requests, tokens and cost of a run over all its starts, in a file of the run folder."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dramaeval.data.atomic_files import write_json_atomic
from dramaeval.evaluation.endpoint.reply import Reply
from dramaeval.models.api_model import ApiModel

#: The file in the run folder.
NAME = "api.json"


@dataclass
class Usage:
    """Counts of a run; several threads may add to them.

    Attributes:
        requests: paid replies of the endpoint.
        from_cache: replies from the cache.
        retries: attempts after the first one of a request.
        failed: requests without a reply after all attempts.
        input_tokens: input tokens of the paid replies, with ``audio_tokens``.
        audio_tokens: audio tokens of the paid replies.
        output_tokens: output tokens of the paid replies.
        unreadable_samples: unreadable answers among the sampled answers of questions that have a readable one.
    """

    requests: int = 0
    from_cache: int = 0
    retries: int = 0
    failed: int = 0
    input_tokens: int = 0
    audio_tokens: int = 0
    output_tokens: int = 0
    unreadable_samples: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def count(self, **counts: int) -> None:
        """Add to the counts of these names."""
        with self._lock:
            for name, number in counts.items():
                setattr(self, name, getattr(self, name) + number)

    def count_reply(self, reply: Reply) -> None:
        """Add a paid reply."""
        self.count(
            requests=1,
            input_tokens=reply.input_tokens,
            audio_tokens=reply.audio_tokens,
            output_tokens=reply.output_tokens,
        )

    def figures(self, model: ApiModel) -> dict[str, Any]:
        """The entry of ``metrics.json``: the counts, and the cost in the unit of the prices."""
        counts = {count.name: getattr(self, count.name) for count in fields(self)}
        about = {"model": model.name, "base_url": model.base_url}
        return {**about, **counts, "cost": self.cost(model)}

    def cost(self, model: ApiModel) -> float | None:
        """The price of the paid replies; None if the prices are not set."""
        if model.price_input is None or model.price_output is None:
            return None
        audio = model.price_input if model.price_audio is None else model.price_audio
        text = (self.input_tokens - self.audio_tokens) * model.price_input
        return (text + self.audio_tokens * audio + self.output_tokens * model.price_output) / 1e6

    def write(self, folder: Path, model: ApiModel) -> None:
        """Write the counts into a run folder."""
        write_json_atomic(folder / NAME, self.figures(model))


def read_usage(folder: Path) -> Usage:
    """Read the counts of the earlier starts from a run folder; zeros if there is no readable file."""
    try:
        values = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return Usage(**{count.name: int(values[count.name]) for count in fields(Usage)})
    except (OSError, ValueError, KeyError, TypeError):
        return Usage()
