"""Generates thoughts and answers, greedily or by sampling; GRPO's sampling uses the same continuations.

`CachedGeneration` keeps the keys and values of earlier tokens, so that each token needs only a small step. If a judge
does not support this (see `supports_cache`), `UncachedGeneration` repeats the scoring pass for every token, which is
slower. Greedy texts are the same as in transformers, in batches of any size. Each sampled text has separate
random numbers, so that it does not depend on other texts in the batch (up to the rounding of logits).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Protocol

import torch
from transformers import DynamicCache

from dramaeval.compat.transformers import cache_argument
from dramaeval.models.forward.judge_model import CLIP_INPUTS, JudgeModel, unwrap_judge
from dramaeval.models.inputs.batch import EncodedRecord, LabelledQuestion
from dramaeval.models.inputs.collation import collate
from dramaeval.models.inputs.question_encoder import AnswerTokens, QuestionEncoder

#: Maximum number of sequences that are continued at a time; each needs the keys and values of its prompt.
ROWS = 16


@dataclass(frozen=True)
class GeneratedText:
    """A generated text without its end marker, and whether the marker was generated."""

    text: str
    finished: bool


class Continuation(Protocol):
    """Sequences that are continued token by token; ``logits [sequences, vocabulary]`` predict the next token."""

    logits: torch.Tensor

    def feed(self, tokens: Sequence[int]) -> None:
        """Append one token to each sequence and update ``logits``."""


Start = Callable[[Sequence[EncodedRecord], int], Continuation]
"""Starts to continue the questions of some records, each with a number of adjacent sequences."""


@dataclass(frozen=True)
class Sampling:
    """How texts are sampled.

    Attributes:
        seeds: for each record and question, one seed per text; all questions have the same number of texts.
        temperature: temperature of the softmax over tokens.
        tokens: number of tokens of the tokenizer; only smaller ids are sampled.
        suppressed: ids that are never sampled, such as the audio placeholder.
    """

    seeds: Sequence[Sequence[Sequence[int]]]
    temperature: float
    tokens: int
    suppressed: tuple[int, ...] = ()


def generate(
    records: Sequence[EncodedRecord],
    encoder: QuestionEncoder,
    start: Start,
    *,
    opening: str,
    until: str,
    max_tokens: Sequence[int],
    sampling: Sampling | None = None,
) -> list[list[GeneratedText]]:
    """Continue every question of some records, with the most probable tokens or with sampled tokens.

    Args:
        records: the records, whose prompts and clips are used, and whose answers are ignored.
        encoder: the encoder of their questions.
        start: starts a continuation.
        opening: the text at the beginning of every answer.
        until: a text that ends a generation; the end of the turn ends it too.
        max_tokens: the maximum number of tokens to generate for each record.
        sampling: samples several texts per question; None generates one greedy text.

    Returns:
        for each record the texts after ``opening``; several texts of a question are adjacent. A prompt is computed once
        for up to `ROWS` of them.
    """
    lead = encoder.opening(opening)
    per_record = zip(max_tokens, records, strict=True)
    limits = [limit for limit, record in per_record for _ in record.questions]
    texts: list[list[GeneratedText]] = [[] for _ in limits]
    seeds: list[Sequence[int]] = []
    samples = 1
    if sampling is not None:
        for record, record_seeds in zip(records, sampling.seeds, strict=True):
            seeds += record_seeds[: len(record.questions)]
        samples = max(map(len, seeds), default=0)
    for begin in range(0, samples, ROWS):
        copies = min(ROWS, samples - begin)
        first = 0
        for group in _groups(records, lead, max(1, ROWS // copies)):
            last = first + sum(len(record.questions) for record in group)
            continuation = start(group, copies)
            choose: Choice = _greedy
            if sampling is not None:
                row_seeds = [question[begin : begin + copies] for question in seeds[first:last]]
                choose = _Draw(sampling, [*chain(*row_seeds)], continuation.logits.device)
            row_limits = [limit for limit in limits[first:last] for _ in range(copies)]
            generated = iter(_continue(continuation, encoder, until, row_limits, choose))
            for question_texts in texts[first:last]:
                question_texts += islice(generated, copies)
            first = last
    remaining = iter(texts)
    return [[text for _ in record.questions for text in next(remaining)] for record in records]


Choice = Callable[[torch.Tensor, Container[int]], list[int]]
"""Takes ``logits [sequences, vocabulary]`` and the numbers of ended sequences; returns the next token of each sequence."""


def _greedy(logits: torch.Tensor, ended: Container[int]) -> list[int]:
    return logits.argmax(dim=-1).tolist()


class _Draw:
    """A `Choice` that samples; each sequence has a separate random generator."""

    def __init__(self, sampling: Sampling, seeds: Sequence[int], device: torch.device) -> None:
        self.sampling = sampling
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.tokens = [0] * len(seeds)

    def __call__(self, logits: torch.Tensor, ended: Container[int]) -> list[int]:
        logits = logits.float()
        # Subtracting the largest logit avoids an overflow at a low temperature.
        scores = (logits - logits.amax(-1, keepdim=True)) / self.sampling.temperature
        # NaN is not reported here, because the scores of such a judge are reported.
        scores = scores.nan_to_num(nan=0.0)
        scores[:, self.sampling.tokens :] = -torch.inf
        scores[:, list(self.sampling.suppressed)] = -torch.inf
        shares = scores.softmax(dim=-1)
        rows = [row for row in range(len(self.tokens)) if row not in ended]
        drawn = [torch.multinomial(shares[r], 1, generator=self.generators[r]) for r in rows]
        for row, token in zip(rows, torch.cat(drawn).tolist(), strict=True):
            self.tokens[row] = token
        # A sequence that has ended repeats its last token, which is ignored.
        return list(self.tokens)


def _groups(
    records: Sequence[EncodedRecord], opening: tuple[int, ...], most: int
) -> Iterator[list[EncodedRecord]]:
    """Yield the questions in groups of at most ``most``, with the opening in the place of their answers."""
    group: list[EncodedRecord] = []
    room = most
    # The score only marks the position at which the next token is chosen from the full vocabulary.
    answer = AnswerTokens(scale=(0,), lead=opening, scores=(0,))
    for record in records:
        questions = [
            LabelledQuestion(replace(question.question, answer=answer), key=question.key)
            for question in record.questions
        ]
        while questions:
            part, questions = questions[:room], questions[room:]
            group.append(EncodedRecord(record.clips, tuple(part)))
            room -= len(part)
            if room == 0:
                yield group
                group, room = [], most
    if group:
        yield group


def _continue(
    continuation: Continuation,
    encoder: QuestionEncoder,
    until: str,
    limits: Sequence[int],
    choose: Choice,
) -> list[GeneratedText]:
    generated: list[list[int]] = [[] for _ in limits]
    texts: dict[int, GeneratedText] = {}
    for length in range(1, max(limits) + 1):
        tokens = choose(continuation.logits, texts)
        for row, token in enumerate(tokens):
            if row in texts:
                continue
            generated[row].append(token)
            text = encoder.tokenizer.decode(generated[row], skip_special_tokens=False)
            ends = [text.index(end) for end in (until, encoder.end_of_turn) if end in text]
            if ends:
                texts[row] = GeneratedText(text[: min(ends)], finished=until in text)
            elif length == limits[row]:
                texts[row] = GeneratedText(text, finished=False)
        if len(texts) == len(limits):
            break
        continuation.feed(tokens)
    return [texts[row] for row in range(len(limits))]


class UncachedGeneration:
    """Continues sequences with a complete pass per token.

    Args:
        records: the records, with one sequence per question.
        read: runs a pass; returns the logits of the next token, ``[questions, vocabulary]``.
        copies: number of sequences per question.
    """

    def __init__(
        self,
        records: Sequence[EncodedRecord],
        read: Callable[[Sequence[EncodedRecord]], torch.Tensor],
        copies: int = 1,
    ) -> None:
        self.records = [
            replace(
                record,
                questions=tuple(question for question in record.questions for _ in range(copies)),
            )
            for record in records
        ]
        self.read = read
        self.logits = read(self.records)

    def feed(self, tokens: Sequence[int]) -> None:
        """Append one token to each sequence and update ``logits``."""
        remaining = iter(tokens)
        self.records = [
            replace(
                record,
                questions=tuple(
                    _append(question, next(remaining)) for question in record.questions
                ),
            )
            for record in self.records
        ]
        self.logits = self.read(self.records)


def _append(question: LabelledQuestion, token: int) -> LabelledQuestion:
    answer = question.question.answer
    answer = replace(answer, lead=(*answer.lead, token))
    return replace(question, question=replace(question.question, answer=answer))


class CachedGeneration:
    """Continues sequences with the keys and values of their earlier tokens; see `supports_cache`.

    Sequences are padded on the left: a sliding attention window counts positions in the cache, and padding between a
    prompt and its continuation would use a part of the window.

    Args:
        model: the judge.
        records: the records, with one sequence per question.
        pad: id of the padding token.
        device: device of the model's inputs.
        copies: number of sequences per question; their prompt is computed once.
    """

    def __init__(
        self,
        model: Any,
        records: Sequence[EncodedRecord],
        pad: int,
        device: torch.device,
        copies: int = 1,
    ) -> None:
        self.judge = unwrap_judge(model)
        self.cache = DynamicCache()
        inputs = collate(records, pad=pad, shared_prefix=False).to(device).inputs
        self.last = inputs["answer_index"][:, 1]
        ids, self.mask = _padded_on_the_left(inputs["input_ids"], self.last, pad)
        positions, _ = _padded_on_the_left(inputs["position_ids"], self.last, 0)
        clips = {key: inputs[key] for key in CLIP_INPUTS if key in inputs}
        hidden = self._run(self.judge.embed(ids, **clips), positions)
        self.logits = self.judge.get_output_embeddings()(hidden[:, -1])
        if copies > 1:
            self.cache.batch_repeat_interleave(copies)
            self.mask = self.mask.repeat_interleave(copies, dim=0)
            self.last = self.last.repeat_interleave(copies)
            self.logits = self.logits.repeat_interleave(copies, dim=0)

    def feed(self, tokens: Sequence[int]) -> None:
        """Append one token to each sequence and update ``logits``."""
        with torch.inference_mode():
            ids = torch.tensor(tokens, device=self.mask.device)[:, None]
            self.last = self.last + 1
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
            hidden = self._run(self.judge.embed(ids), self.last[:, None])
            self.logits = self.judge.get_output_embeddings()(hidden[:, 0])

    def _run(self, embeddings: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """Run the decoder and extend the cache; returns the last hidden states ``[rows, tokens, hidden]``."""
        decoder = self.judge.decoder
        output = decoder(
            inputs_embeds=embeddings,
            attention_mask=self.mask.long(),
            position_ids=position_ids,
            use_cache=True,
            **{cache_argument(decoder): self.cache},
        )
        return output.last_hidden_state


def _padded_on_the_left(
    values: torch.Tensor, last: torch.Tensor, pad: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move the padding of ``[rows, tokens]`` from the right to the left.

    Args:
        values: the rows, which have padding after their last token.
        last: position of the last token of each row, ``[rows]``.
        pad: the value of padding.

    Returns:
        the values, and a bool mask of the same shape, which is false for padding.
    """
    end = int(last.max())
    columns = torch.arange(-end, 1, device=last.device)[None] + last[:, None]
    real = columns >= 0
    return values.gather(1, columns.clamp(min=0)).masked_fill(~real, pad), real


def supports_cache(model: Any) -> bool:
    """Whether the judge's pass consists of decoder and head, as `CachedGeneration` requires.

    This is not so with virtual tokens, or if a text model has further operations between decoder and head.
    """
    learns_tokens = getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False)
    return not learns_tokens and type(unwrap_judge(model)).logits_at is JudgeModel.logits_at
