"""The inputs of a forward pass: encoded records before collation, and a `Batch` after it.

An *answer position* is a position at which the prediction of the next token is used: for all tokens of the answers in
training, and for the token of each score in scoring. In shapes, ``answers`` is the number of answer positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device

from dramaeval.data.logmel import ClipFeatures, EncodedClip
from dramaeval.models.inputs.question_encoder import EncodedQuestion

#: Padding of ``Batch.score_tokens``, and the label of a token in a batch without targets.
NO_SCORE = -1
#: The label of a token whose prediction is computed but not trained; PyTorch's ``ignore_index``.
UNTRAINED = -100


@dataclass(frozen=True)
class Preference:
    """The raters' votes on a pair, for a question that scores one clip of the pair singly; only in training.

    Attributes:
        of_second: whether the question is about clip b.
        target: shares of the votes for clip b, for a tie and for clip a, float64 ``[3]``.
        slope: see `dramaeval.models.forward.pair_outcomes`.
        tie_weight: see `dramaeval.models.forward.pair_outcomes`.
    """

    of_second: bool
    target: np.ndarray
    slope: float
    tie_weight: float


@dataclass(frozen=True)
class LabelledQuestion:
    """One question about a record, for one field of the answer; in training with its target.

    Attributes:
        question: the tokens, with expanded audio placeholders.
        target: distribution over the choices ``[choices]``; None in scoring.
        key: the id of the record and the key of the dimension.
        written_choice: index of the choice that is written into the sequence. None writes the most probable choice of
            the target in training, and the middle of the scale in scoring, where only later fields of the same
            answer depend on it.
        continues_answer: whether this field belongs to the same answer as the previous question and follows its
            choice.
        preference: the votes, in place of a target, for a question about one clip of a pair; the question about the
            other clip has the same key and is in the same batch.
    """

    question: EncodedQuestion
    target: np.ndarray | None = None
    key: tuple[str, str] = ("", "")
    written_choice: int | None = None
    continues_answer: bool = False
    preference: Preference | None = None

    @property
    def unlabelled(self) -> int:
        """The label of an answer token whose prediction is computed but not trained."""
        return NO_SCORE if self.target is None and self.preference is None else UNTRAINED

    @property
    def choice(self) -> int:
        """Index of the choice that is written into the sequence."""
        if self.written_choice is not None:
            return self.written_choice
        if self.target is not None:
            return int(np.argmax(self.target))
        return (len(self.question.answer.choice_tokens) - 1) // 2


@dataclass(frozen=True)
class EncodedRecord:
    """Questions about one record whose prompts have the same clips.

    Attributes:
        clips: the clips, in the order of the prompts.
        questions: the questions.
        others: further questions about the record whose prompts have other clips, or another order of them.
    """

    clips: tuple[ClipFeatures | EncodedClip, ...]
    questions: tuple[LabelledQuestion, ...]
    others: tuple[EncodedRecord, ...] = ()

    @property
    def before_clips(self) -> int:
        """The number of tokens before the first clip of the prompts; of all tokens without a clip."""
        return min(question.question.before_clips for question in self.questions)

    @property
    def parts(self) -> tuple[EncodedRecord, ...]:
        """This part of the record and the other parts."""
        return (self, *self.others)

    @property
    def all_questions(self) -> tuple[LabelledQuestion, ...]:
        """The questions of all parts."""
        return tuple(question for part in self.parts for question in part.questions)


@dataclass(frozen=True)
class Batch:
    """One forward pass.

    An objective, ``objective(logits, batch)``, gets the float ``logits [answers, vocabulary]`` (``[answers, 1]`` from a
    regression head) and this batch, and returns one loss per question, float32 ``[questions]``. It may use every
    attribute from ``labels`` to ``is_stand_in``; `dramaeval.models.forward.answer_distributions` computes
    probabilities and expected scores from logits and batch.

    Attributes:
        inputs: keyword arguments of `JudgeModel.answer_logits`.
        labels: int64 ``[answers]``, the token id to predict at each answer position; `UNTRAINED` if it is not trained.
        question_of: int64 ``[answers]``, the number of the question of each answer position.
        score_index: int64 ``[questions]``, the answer position (an index into ``labels`` and ``logits``) at which the
            score of each question is predicted; for choices with several tokens, the first position.
        score_tokens: int64 ``[questions, longest scale]``, the token id of each score of the scale, in rising order;
            `NO_SCORE` after the end of a shorter scale and for choices with several tokens.
        scale: float32 ``[questions, longest scale]``, the scores; a shorter scale is padded with its last score.
        targets: float32 ``[questions, longest scale]``, the target distribution; 0 after the end of a shorter scale.
            None in scoring.
        tokens: number of computed tokens without padding; a shared prefix counts once.
        clips: number of records.
        question_keys: record id and dimension key of each question, in the order of ``score_index``.
        longest_question: number of tokens of the longest question, with its audio and, in training, its answer.
        is_stand_in: whether the batch is a filler that trains nothing (see `dramaeval.training.step_batches`).
        terms: int64 ``[terms, 4]``, the tokens of choices with several tokens: answer position, token id, question,
            choice. None if every choice is one token.
        pairs: int64 ``[pairs, 2]``, the questions about clip a and clip b of each pair that is trained by votes; None
            without such pairs. The targets of these questions are 0.
        pair_targets: float32 ``[pairs, 3]``, shares of the votes for clip b, for a tie and for clip a.
        pair_model: float32 ``[pairs, 2]``, slope and tie weight of each pair, see
            `dramaeval.models.forward.pair_outcomes`.
    """

    inputs: dict[str, Any]
    labels: torch.Tensor
    question_of: torch.Tensor
    score_index: torch.Tensor
    score_tokens: torch.Tensor
    scale: torch.Tensor
    targets: torch.Tensor | None
    tokens: int
    clips: int
    question_keys: tuple[tuple[str, str], ...] = ()
    longest_question: int = 0
    is_stand_in: bool = False
    terms: torch.Tensor | None = None
    pairs: torch.Tensor | None = None
    pair_targets: torch.Tensor | None = None
    pair_model: torch.Tensor | None = None

    @property
    def questions(self) -> int:
        """The number of questions."""
        return len(self.score_index)

    @property
    def rated(self) -> torch.Tensor:
        """Whether each question has a target, bool ``[questions]``; questions in `pairs` have none."""
        rated = torch.ones(self.questions, dtype=torch.bool, device=self.score_index.device)
        return rated if self.pairs is None else rated.index_fill(0, self.pairs.flatten(), False)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """A copy with its tensors on a device."""
        return Batch(**send_to_device(vars(self), device, non_blocking))
