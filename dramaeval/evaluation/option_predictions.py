"""What a judge answered to a multiple-choice question, beside the right answer; kept as JSONL."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dramaeval.evaluation.predictions import SCORED

NOT_WRITTEN = "not written"
"""The state of the written answer where none was asked for."""


@dataclass(frozen=True, kw_only=True)
class OptionPrediction:
    """One line of `predictions.jsonl` about a multiple-choice question.

    Attributes:
        id: of the record.
        dimension: key of what is asked.
        options: the texts to choose from.
        distribution: probability of each, likelihoods of the whole answers brought to a sum of 1; None when
            the judge did not score.
        answer: the number of the right one; None where the record does not say.
        state: `scored`, or why there is no distribution.
        category: of the question; None where the record has none.
        group: what the bootstrap keeps together.
        system: what made the clip.
        written: the text that the judge wrote when it was let to answer; None where it was not.
        chosen: the option that this text is; None where it is none of them.
        written_state: `scored`, or why there is no chosen option.
    """

    id: str
    dimension: str
    options: tuple[str, ...]
    distribution: tuple[float, ...] | None
    answer: int | None
    state: str
    category: str | None = None
    group: str | None = None
    system: str | None = None
    written: str | None = None
    chosen: int | None = None
    written_state: str = NOT_WRITTEN

    @property
    def scored(self) -> bool:
        """Whether there is a distribution."""
        return self.state == SCORED

    @property
    def likeliest(self) -> tuple[int, ...]:
        """The options of the highest probability: several where they tie to the last digit."""
        if self.distribution is None:
            return ()
        best = max(self.distribution)
        return tuple(at for at, share in enumerate(self.distribution) if share == best)

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object; always the same keys in the same order."""
        values = asdict(self)
        return {key: list(one) if isinstance(one, tuple) else one for key, one in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> OptionPrediction:
        """Read what `to_json` wrote; further keys are ignored."""
        own: dict[str, Any] = {key: values.get(key) for key in cls.__dataclass_fields__}
        share = own["distribution"]
        own |= {
            "options": tuple(own["options"]),
            "distribution": None if share is None else tuple(share),
        }
        return cls(**own)


def option_of(text: str, options: tuple[str, ...]) -> int | None:
    """The option that a written answer is, case and outer space aside; None where it is none or several."""
    said = _plain(text)
    found = [at for at, option in enumerate(options) if _plain(option) == said]
    return found[0] if len(found) == 1 else None


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
