"""The sequences of a record's answers: their tokens, and the positions at which an answer is predicted.

Scores with several tokens form a tree of tokens in one sequence. The tokens are in depth-first order, and a token
attends only to the tokens on its path: with the scale 0-10, the token 1 is followed by the token 0, and the token 2
attends to neither of them. One sequence therefore gives the probability of every score:

    P("10") = P("1") · P("0" | "1") · P(end | "10"),    P("1") = P("1") · P(end | "1").

The score that is written into the sequence is the last path of the tree, and the text after it continues this path.
`_unrolled` converts a tree to sequences without a tree that give the same answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from dramaeval.models.inputs.batch import LabelledQuestion
from dramaeval.models.inputs.question_encoder import AnswerTokens


@dataclass
class AnswerSequence:
    """The tokens of one answer and its prompt, and the positions at which the answer is predicted.

    Attributes:
        tokens: token ids.
        positions: the answer positions in ``tokens``.
        labels: the token to predict at each answer position.
        question_of: the number of the question of each answer position.
        score_index: for each question, the index into ``positions`` at which its choice is predicted.
        terms: ``(index into positions, (token, question, choice))`` for choices with several tokens.
        ends: for a token of a tree, the index after the last token that attends to it; all later tokens attend to other
            tokens.
        depths: for each token, the number of tokens before it on its path; empty without a tree.
    """

    tokens: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    question_of: list[int] = field(default_factory=list)
    score_index: dict[int, int] = field(default_factory=dict)
    terms: list[tuple[int, tuple[int, int, int]]] = field(default_factory=list)
    ends: dict[int, int] = field(default_factory=dict)
    depths: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        """The number of tokens on the longest path."""
        return max(self.depths) + 1 if self.depths else len(self.tokens)

    def subtree_ends(self) -> list[int]:
        """For each token, the index after the last token that attends to it."""
        return [self.ends.get(index, len(self.tokens)) for index in range(len(self.tokens))]


def answer_sequences(
    questions: Sequence[LabelledQuestion], first: int = 0, *, trees: bool = True
) -> list[AnswerSequence]:
    """Make the sequences of a record's questions.

    Args:
        questions: the questions.
        first: the number of the first question.
        trees: whether a sequence may contain trees; false converts them, see `_unrolled`.
    """
    sequences: list[AnswerSequence] = []
    starts = [n for n, question in enumerate(questions) if n == 0 or not question.continues_answer]
    for start, end in pairwise([*starts, len(questions)]):
        if questions[start].question.answer.options:
            sequences += _option_sequences(questions[start], first + start)
        else:
            sequences.append(_score_sequence(questions[start:end], first + start))
    return sequences if trees else [part for item in sequences for part in _unrolled(item)]


def _option_sequences(question: LabelledQuestion, number: int) -> list[AnswerSequence]:
    """One sequence per option: the tokens of all options are predicted, and those of the written option trained."""
    answer, sequences = question.question.answer, []
    for choice, option in enumerate(answer.options):
        tokens = [*question.question.prompt, *answer.lead, *option]
        trained = question.target is not None and choice == question.choice
        lead = len(answer.lead) if trained else 0
        begin = len(tokens) - len(option)
        unlabelled = question.unlabelled
        sequences.append(
            AnswerSequence(
                tokens=tokens[:-1],
                positions=list(range(begin - lead - 1, len(tokens) - 1)),
                labels=tokens[begin - lead :] if trained else [unlabelled] * len(option),
                question_of=[number] * (lead + len(option)),
                score_index={number: lead},
                terms=[
                    (index, (token, number, choice)) for index, token in enumerate(option, lead)
                ],
            )
        )
    return sequences


def _score_sequence(questions: Sequence[LabelledQuestion], first: int) -> AnswerSequence:
    """One answer: all its tokens are predicted in training, and only the scores in scoring.

    A score with several tokens is a tree.
    """
    writer = _SequenceWriter(questions[0].question.prompt)
    for number, question in enumerate(questions, first):
        answer = question.question.answer
        trains = question.target is not None
        writer.text(answer.lead, number, trains)
        if answer.paths:
            writer.tree(answer, question, number)
        else:
            writer.sequence.score_index[number] = len(writer.sequence.positions)
            score = answer.scores[question.choice]
            writer.predict(score if trains else question.unlabelled, number)
            writer.append(score)
        if trains and answer.tail:  # the text between two scores is the lead of the second
            writer.text(answer.tail, number, trains)
    return writer.finish()


class _SequenceWriter:
    """Writes a sequence token by token."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self.sequence = AnswerSequence(tokens=list(prompt), depths=list(range(len(prompt))))
        self.depth = len(prompt) - 1  # depth of the last token on the path of the answer
        # Numbers of tokens of the text after a score that the tree has already predicted, and already written.
        self.predicted = self.written = 0

    def append(self, token: int) -> None:
        """Write a token at the end of the path."""
        self.depth += 1
        self.sequence.depths.append(self.depth)
        self.sequence.tokens.append(token)

    def predict(self, label: int, number: int) -> int:
        """Predict a token at the last position; returns the index of the prediction."""
        self.sequence.positions.append(len(self.sequence.tokens) - 1)
        self.sequence.labels.append(label)
        self.sequence.question_of.append(number)
        return len(self.sequence.positions) - 1

    def text(self, tokens: Sequence[int], number: int, trains: bool) -> None:
        """Write tokens; in training, predict the tokens that the tree before them has not predicted."""
        for index, token in enumerate(tokens):
            if trains and index >= self.predicted:
                self.predict(token, number)
            if index >= self.written:
                self.append(token)
        self.predicted = self.written = 0

    def tree(self, answer: AnswerTokens, question: LabelledQuestion, number: int) -> None:
        """Write the tree of a score; the path of the written choice comes last."""
        self.sequence.score_index[number] = len(self.sequence.positions)
        self._node(answer.paths, {*range(len(answer.paths))}, 0, question, number)
        choice = question.choice
        self.depth += len(answer.paths[choice]) - 1
        self.predicted, self.written = answer.ending, answer.ending - 1

    def _node(
        self,
        paths: Sequence[Sequence[int]],
        choices: set[int],
        depth: int,
        question: LabelledQuestion,
        number: int,
    ) -> None:
        """Predict the next token of some choices, and write the subtrees of choices with further tokens."""
        sequence, written = self.sequence, question.choice
        trained = written in choices and question.target is not None
        label = paths[written][depth] if trained else question.unlabelled
        row = self.predict(label, number)
        here = sequence.depths[-1]
        following: dict[int, set[int]] = {}
        for choice in sorted(choices):
            token = paths[choice][depth]
            sequence.terms.append((row, (token, number, choice)))
            if depth + 1 < len(paths[choice]):
                following.setdefault(token, set()).add(choice)
        for token, others in sorted(following.items(), key=lambda item: written in item[1]):
            start = len(sequence.tokens)
            sequence.tokens.append(token)
            sequence.depths.append(here + 1)
            self._node(paths, others, depth + 1, question, number)
            if written not in others:
                sequence.ends |= {start: len(sequence.tokens)}

    def finish(self) -> AnswerSequence:
        """The sequence without the tokens after the last answer position, after which nothing is predicted."""
        sequence = self.sequence
        count = max(sequence.positions) + 1
        del sequence.tokens[count:], sequence.depths[count:]
        if not sequence.ends:
            sequence.depths.clear()  # there is one path
        return sequence


def _unrolled(sequence: AnswerSequence) -> list[AnswerSequence]:
    """Make a sequence for each path of a tree; an answer position belongs to the first path that contains it."""
    if not sequence.ends:
        return [sequence]
    ends = sequence.subtree_ends()
    questions = {index: number for number, index in sequence.score_index.items()}
    terms: dict[int, list[tuple[int, int, int]]] = {}
    for index, term in sequence.terms:
        terms.setdefault(index, []).append(term)
    remaining = dict(enumerate(sequence.positions))
    sequences = []
    last_tokens = [index for index, end in enumerate(ends) if end == index + 1]
    for last in last_tokens:
        path = [index for index in range(last + 1) if ends[index] > last]
        places: dict[int, Any] = {index: place for place, index in enumerate(path)}
        part = AnswerSequence(tokens=[sequence.tokens[index] for index in path])
        for index, position in list(remaining.items()):
            if position not in places:
                continue
            del remaining[index]
            if index in questions:
                part.score_index[questions[index]] = len(part.positions)
            part.terms += [(len(part.positions), term) for term in terms.get(index, [])]
            part.positions.append(places[position])
            part.labels.append(sequence.labels[index])
            part.question_of.append(sequence.question_of[index])
        sequences.append(part)
    return sequences
