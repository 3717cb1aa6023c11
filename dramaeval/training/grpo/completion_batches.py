"""Prompts and completions as batches of a forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dramaeval.models.inputs.collation import Batch, EncodedRecord, LabelledQuestion, collate
from dramaeval.models.inputs.question_encoder import AnswerTokens, EncodedQuestion
from dramaeval.training.grpo.prompt_groups import PromptGroup


def completions_batch(
    groups: Sequence[tuple[PromptGroup, Sequence[Sequence[int]]]], *, pad: int, shared_prefix: bool
) -> Batch:
    """The batch that gives the logits of every token of some completions.

    Args:
        groups: each with its completions, at least one token each.
        pad: the padding token.
        shared_prefix: one row a group, with its prompt and clip computed once and a branch for each completion; else
            one row a completion, which repeats prompt and clip.

    Returns:
        a batch whose ``labels`` are the tokens of the completions, one completion after the other, and whose
        ``question_of`` has the number of the completion.
    """
    encoded_records = []
    for group, completions in groups:
        questions = [_as_answer(group, tokens) for tokens in completions]
        encoded_records += _rows(group, questions, shared_prefix)
    return collate(encoded_records, pad=pad, shared_prefix=shared_prefix)


def _as_answer(group: PromptGroup, tokens: Sequence[int]) -> LabelledQuestion:
    """A completion in the form of an answer all of whose tokens are trained: the last is its only choice."""
    *lead, last = tokens
    answer = AnswerTokens(scale=(0,), lead=tuple(lead), scores=(last,), tail=())
    question = EncodedQuestion(prompt=group.prompt, answer=answer)
    return LabelledQuestion(question=question, target=np.ones(1), key=group.about)


def prompts_to_continue(
    groups: Sequence[PromptGroup], copies: int, *, shared_prefix: bool
) -> list[EncodedRecord]:
    """The prompts of groups, ``copies`` of each, for generation.

    Args:
        groups: the groups.
        copies: completions of each.
        shared_prefix: see `completions_batch`.
    """
    encoded_records = []
    for group in groups:
        # Generation uses the logits of the full vocabulary; an answer needs at least one choice.
        answer = AnswerTokens(scale=(0,), lead=(), scores=(0,), tail=())
        question = LabelledQuestion(EncodedQuestion(group.prompt, answer), key=group.about)
        encoded_records += _rows(group, [question] * copies, shared_prefix)
    return encoded_records


def _rows(
    group: PromptGroup, questions: Sequence[LabelledQuestion], shared_prefix: bool
) -> list[EncodedRecord]:
    clips = group.encoded_record.clips
    if shared_prefix:
        return [EncodedRecord(clips, tuple(questions))]
    return [EncodedRecord(clips, (question,)) for question in questions]
