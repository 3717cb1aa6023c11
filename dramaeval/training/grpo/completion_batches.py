"""Makes batches for a forward pass from prompts and completions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dramaeval.models.inputs.collation import Batch, EncodedRecord, LabelledQuestion, collate
from dramaeval.models.inputs.question_encoder import AnswerTokens, EncodedQuestion
from dramaeval.training.grpo.prompt_groups import PromptGroup


def completions_batch(
    groups: Sequence[tuple[PromptGroup, Sequence[Sequence[int]]]], *, pad: int, shared_prefix: bool
) -> Batch:
    """Make the batch whose forward pass gives the logits of every token of the completions.

    Args:
        groups: each group with its completions; a completion has at least one token.
        pad: the padding token.
        shared_prefix: use one row per group, with the prompt and clip computed once and a branch for each completion.
            Otherwise each completion has a row, which repeats prompt and clip.

    Returns:
        a batch whose ``labels`` are the tokens of the completions, one completion after the other, and whose
        ``question_of`` has the number of the completion of each token.
    """
    encoded_records = []
    for group, completions in groups:
        questions = [_as_answer(group, tokens) for tokens in completions]
        encoded_records += _rows(group, questions, shared_prefix)
    return collate(encoded_records, pad=pad, shared_prefix=shared_prefix)


def _as_answer(group: PromptGroup, tokens: Sequence[int]) -> LabelledQuestion:
    """Represent a completion as an answer whose tokens are all trained: its last token is the only choice."""
    *lead, last = tokens
    answer = AnswerTokens(scale=(0,), lead=tuple(lead), scores=(last,), tail=())
    question = EncodedQuestion(prompt=group.prompt, answer=answer)
    return LabelledQuestion(question=question, target=np.ones(1), key=group.about)


def prompts_to_continue(
    groups: Sequence[PromptGroup], copies: int, *, shared_prefix: bool
) -> list[EncodedRecord]:
    """Repeat the prompt of each group ``copies`` times, for generation; ``shared_prefix`` as in `completions_batch`."""
    encoded_records = []
    for group in groups:
        # The choice 0 is not used: generation takes the logits of the full vocabulary, but an answer needs a choice.
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
