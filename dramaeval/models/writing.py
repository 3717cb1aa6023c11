"""Letting a judge write: greedy decoding of thoughts and answers, the same for any batch.

Each token is one forward pass over the batch as scoring makes it, so that every model, adapter and layout
that can be scored can write, and writes exactly what transformers' greedy generation does (tests compare
them). There is no cache: a thought of n tokens costs n passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from dramaeval.models.batch import Asked, Sheet
from dramaeval.models.questions import AnswerTokens, QuestionEncoder


@dataclass(frozen=True)
class Written:
    """What was written: the text, without what ended it, and whether it was ended."""

    text: str
    finished: bool


def write(
    sheets: Sequence[Sheet],
    encoder: QuestionEncoder,
    answer: Callable[[Sequence[Sheet]], torch.Tensor],
    *,
    opening: str,
    until: str,
    most: Sequence[int],
) -> list[list[Written]]:
    """Write on from every question of the sheets, the likeliest token each time.

    Args:
        sheets: their answers are ignored, only prompts and clips count.
        encoder: of their questions.
        answer: logits of sheets at the end of what is written, ``[questions, vocabulary]``.
        opening: the text that is written already.
        until: ends the writing, and so does the end of the turn; it is looked for in the text.
        most: tokens that are written at most, for each sheet.

    Returns:
        for each sheet what was written to each of its questions, after ``opening``.
    """
    begun = list(encoder.opening(opening))
    said: dict[tuple[int, int], list[int]] = {
        (at, number): [] for at, sheet in enumerate(sheets) for number, _ in enumerate(sheet.asked)
    }
    texts: dict[tuple[int, int], Written] = {}
    for length in range(max(most, default=0)):
        open_ones = [key for key in said if key not in texts and length < most[key[0]]]
        if not open_ones:
            break
        asked = _continued(sheets, begun, said, open_ones)
        tokens = answer(asked).argmax(dim=-1).tolist()
        for key, token in zip(open_ones, tokens, strict=True):
            said[key].append(int(token))
            text = encoder.tokenizer.decode(said[key], skip_special_tokens=False)
            ends = [text.index(end) for end in (until, encoder.end_of_turn) if end in text]
            if ends:
                texts[key] = Written(text[: min(ends)], finished=until in text)
    for key, tokens in said.items():
        text = encoder.tokenizer.decode(tokens, skip_special_tokens=False)
        texts.setdefault(key, Written(text, finished=False))
    return [
        [texts[at, number] for number, _ in enumerate(sheet.asked)]
        for at, sheet in enumerate(sheets)
    ]


def _continued(
    sheets: Sequence[Sheet],
    begun: list[int],
    said: dict[tuple[int, int], list[int]],
    open_ones: Sequence[tuple[int, int]],
) -> list[Sheet]:
    """The sheets with the questions that are still written to, up to the next token."""
    made = []
    for at, sheet in enumerate(sheets):
        asked = []
        for number, one in enumerate(sheet.asked):
            if (at, number) not in open_ones:
                continue
            lead = (*begun, *said[at, number])
            # What follows is read from the whole vocabulary; the one choice is there for form.
            answer = AnswerTokens(scale=(0,), lead=lead, scores=(0,), tail=())
            asked.append(Asked(question=replace(one.question, answer=answer), about=one.about))
        if asked:
            made.append(Sheet(clips=sheet.clips, asked=tuple(asked)))
    return made
