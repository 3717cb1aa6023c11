"""What is trained, token by token, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dramaeval.models.inputs.collation import UNTRAINED, Batch


@dataclass(frozen=True)
class DumpedToken:
    """One token of a question as the model sees it.

    Attributes:
        row: the row of the batch.
        position: its place in the row.
        token: its text in the vocabulary.
        trained: the token that the model is to say next here, or None where nothing is trained.
        target: where a score is to be said, the target distribution by score.
    """

    row: int
    position: int
    token: str
    trained: str | None = None
    target: dict[float, float] | None = None


def dump(batch: Batch, tokenizer: Any) -> list[DumpedToken]:
    """Every token of a batch, padding included, with what is trained at it."""
    ids = batch.inputs["input_ids"]
    names = tokenizer.convert_ids_to_tokens
    answers = {
        (int(row), int(position)): number
        for number, (row, position) in enumerate(batch.inputs["answer_index"].tolist())
    }
    scores = {int(number): question for question, number in enumerate(batch.score_index.tolist())}
    found = []
    for row, position in torch.cartesian_prod(*map(torch.arange, ids.shape)).tolist():
        number = answers.get((row, position))
        trained, target = None, None
        if (
            number is not None
            and batch.targets is not None
            and int(batch.labels[number]) != UNTRAINED
        ):
            trained = names(int(batch.labels[number]))
            if number in scores:
                question = scores[number]
                pairs = zip(
                    batch.scale[question].tolist(), batch.targets[question].tolist(), strict=True
                )
                target = {score: round(share, 4) for score, share in pairs}
        found.append(DumpedToken(row, position, names(int(ids[row, position])), trained, target))
    return found


def dump_text(batch: Batch, tokenizer: Any) -> str:
    """The dump as lines; runs of the same token (audio, padding) are counted instead of listed."""
    lines: list[str] = []
    run: list[DumpedToken] = []

    def flush() -> None:
        if run:
            times = f" × {len(run)}" if len(run) > 1 else ""
            lines.append(f"{run[0].row:>3} {run[0].position:>5}  {run[0].token}{times}")
            run.clear()

    for one in dump(batch, tokenizer):
        if run and (one.token, one.row) != (run[0].token, run[0].row):
            flush()
        if one.trained is None:
            run.append(one)
            continue
        flush()
        target = f" target {one.target}" if one.target else ""
        lines.append(f"{one.row:>3} {one.position:>5}  {one.token}  → {one.trained}{target}")
    flush()
    return "\n".join(lines)
