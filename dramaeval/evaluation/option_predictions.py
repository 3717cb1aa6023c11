"""A judge's answer to a multiple-choice question, with the right answer; stored as JSONL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dramaeval.evaluation.json_values import plain_values
from dramaeval.evaluation.predictions import SCORED

NOT_WRITTEN = "not written"
"""The state of the generated answer if the judge generates none."""


@dataclass(frozen=True, kw_only=True)
class OptionPrediction:
    """One line of `predictions.jsonl` about a multiple-choice question.

    Attributes:
        id: id of the record.
        dimension: key of the question.
        options: the texts of the options.
        distribution: probability of each option: the likelihood of its text, normalised over the options;
            None if the question is unscored.
        answer: index of the right option; None if the record does not name it.
        state: `scored`, or why there is no distribution.
        category: category of the question; None if the record has none.
        group: the bootstrap draws records of one group together.
        system: the system that produced the clip.
        written: the answer that the judge generated; None if it generated none.
        chosen: index of the option with this text; None if no option has it.
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
        """Indices of the options with the highest probability; several for an exact tie."""
        if self.distribution is None:
            return ()
        best = max(self.distribution)
        return tuple(index for index, share in enumerate(self.distribution) if share == best)

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object, always with the same keys in the same order."""
        return plain_values(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> OptionPrediction:
        """Make a prediction from the result of `to_json`; further keys are ignored."""
        fields: dict[str, Any] = {key: values.get(key) for key in cls.__dataclass_fields__}
        fields["options"] = tuple(fields["options"])
        if fields["distribution"] is not None:
            fields["distribution"] = tuple(fields["distribution"])
        return cls(**fields)


def option_of(text: str, options: tuple[str, ...]) -> int | None:
    """Index of the only option that equals a generated answer up to case and spaces; None without one."""
    answer = _plain(text)
    matches = [index for index, option in enumerate(options) if _plain(option) == answer]
    return matches[0] if len(matches) == 1 else None


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
