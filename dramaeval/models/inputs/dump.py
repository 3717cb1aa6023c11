"""Converts a batch to readable lines: each token, and the token that is trained at its position."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from dramaeval.models.inputs.batch import UNTRAINED, Batch


@dataclass(frozen=True)
class DumpedToken:
    """One token of a batch.

    Attributes:
        row: row of the token.
        position: position in the row.
        token: text of the token in the vocabulary.
        trained: the next token if it is trained, else None.
        target: the target distribution by score if a score is predicted, else None.
    """

    row: int
    position: int
    token: str
    trained: str | None = None
    target: dict[float, float] | None = None


def dump(batch: Batch, tokenizer: Any) -> list[DumpedToken]:
    """Every token of a batch, with padding."""
    text = tokenizer.convert_ids_to_tokens
    index = batch.inputs["answer_index"].tolist()
    answers = {tuple(position): answer for answer, position in enumerate(index)}
    scores = {answer: question for question, answer in enumerate(batch.score_index.tolist())}
    tokens = []
    for row, ids in enumerate(batch.inputs["input_ids"].tolist()):
        for position, token in enumerate(ids):
            answer = answers.get((row, position))
            trained = target = None
            if answer is not None and batch.targets is not None:
                label = int(batch.labels[answer])
                trained = None if label == UNTRAINED else text(label)
                if trained is not None and answer in scores:
                    question = scores[answer]
                    target = _shares(batch.scale[question], batch.targets[question])
            tokens.append(DumpedToken(row, position, text(token), trained, target))
    return tokens


def _shares(scale: torch.Tensor, target: torch.Tensor) -> dict[float, float]:
    """The shares of a target distribution by score; the padding of a scale repeats its last score."""
    shares: dict[float, float] = {}
    for score, share in zip(scale.tolist(), target.tolist(), strict=True):
        shares.setdefault(score, round(share, 4))
    return shares


def dump_text(batch: Batch, tokenizer: Any) -> str:
    """The dump as lines; repetitions of a token (audio, padding) are counted instead of listed."""
    lines: list[str] = []
    runs = groupby(
        dump(batch, tokenizer),
        lambda item: (item.row, item.token) if item.trained is None else item,
    )
    for _, run in runs:
        first, *others = run
        times = f" × {len(others) + 1}" if others else ""
        trained = "" if first.trained is None else f"  → {first.trained}"
        target = f" target {first.target}" if first.target else ""
        lines.append(f"{first.row:>3} {first.position:>5}  {first.token}{times}{trained}{target}")
    return "\n".join(lines)
