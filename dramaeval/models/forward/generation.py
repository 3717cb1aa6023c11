"""Generation of thoughts and answers, greedy or sampled, and the continuations that GRPO's sampling uses.

`CachedGeneration` keeps the keys and values of earlier tokens, so that a token costs one small step. Where a judge
does not support that (see `supports_cache`), `UncachedGeneration` repeats the scoring pass for every token, which is
slower. Both generate the same text as the greedy generation of transformers, in batches of any size. A sampled text
has random numbers of its own, so that it does not depend on the texts beside it (up to the rounding of logits).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from transformers import DynamicCache

from dramaeval.compat.transformers import cache_argument
from dramaeval.models.forward.judge_model import JudgeModel, unwrap_judge
from dramaeval.models.inputs.batch import EncodedRecord, LabelledQuestion
from dramaeval.models.inputs.collation import CLIP_INPUTS, collate
from dramaeval.models.inputs.question_encoder import AnswerTokens, QuestionEncoder

#: Sequences that are continued at a time; each holds the keys and values of its prompt.
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


class Start(Protocol):
    """Starts to continue the questions of some records."""

    def __call__(self, records: Sequence[EncodedRecord], copies: int = 1) -> Continuation:
        """A continuation with ``copies`` sequences per question, one after the other."""


@dataclass(frozen=True)
class Sampling:
    """How texts are sampled.

    Attributes:
        seeds: for each record and question one seed per text; as many for every question.
        temperature: of the softmax over tokens.
        tokens: ids from 0 up to this number can be sampled: the tokenizer's.
        suppressed: ids that are never sampled, such as the placeholder of audio.
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
    """Continue every question of some records, with the most probable token each time or with sampled ones.

    Args:
        records: their prompts and clips are used; their answers are ignored.
        encoder: of their questions.
        start: starts a continuation.
        opening: the text with which every answer begins.
        until: the text that ends a generation, as the end of the turn does.
        max_tokens: for each record the most tokens to generate.
        sampling: samples several texts per question; None generates one greedily.

    Returns:
        for each record the text after ``opening``, one per question; of several, those of a question one after the
        other.
    """
    lead = encoder.opening(opening)
    if sampling is None:
        texts: list[list[GeneratedText]] = [[] for _ in records]
        for group in _groups(records, lead, ROWS):
            owners = [number for number, record in group for _ in record.questions]
            continuation = start([record for _, record in group])
            limits = [max_tokens[number] for number in owners]
            generated = _continue(continuation, encoder, until, limits, _greedy)
            for number, text in zip(owners, generated, strict=True):
                texts[number].append(text)
        return texts
    return _sample(records, encoder, start, sampling, lead, until, max_tokens)


def _sample(
    records: Sequence[EncodedRecord],
    encoder: QuestionEncoder,
    start: Start,
    sampling: Sampling,
    lead: tuple[int, ...],
    until: str,
    max_tokens: Sequence[int],
) -> list[list[GeneratedText]]:
    """The sampled texts of `generate`; a prompt is computed once for up to `ROWS` of them."""
    texts: list[list[list[GeneratedText]]] = [[[] for _ in each] for each in sampling.seeds]
    samples = max(len(seeds) for each in sampling.seeds for seeds in each) if texts else 0
    for begin in range(0, samples, ROWS):
        copies = min(ROWS, samples - begin)
        places = [iter([(n, q) for q in range(len(each))]) for n, each in enumerate(sampling.seeds)]
        for group in _groups(records, lead, max(1, ROWS // copies)):
            owners = [next(places[number]) for number, record in group for _ in record.questions]
            seeds = [s for n, q in owners for s in sampling.seeds[n][q][begin : begin + copies]]
            continuation = start([record for _, record in group], copies)
            limits = [max_tokens[number] for number, _ in owners for _ in range(copies)]
            draw = _Draw(sampling, seeds, continuation.logits.device)
            generated = iter(_continue(continuation, encoder, until, limits, draw))
            for number, question in owners:
                texts[number][question] += [next(generated) for _ in range(copies)]
    return [[text for of_question in each for text in of_question] for each in texts]


Choice = Callable[[torch.Tensor, Container[int]], list[int]]
"""Chooses the next token of each sequence from ``logits [sequences, vocabulary]`` and the sequences that have ended."""


def _greedy(logits: torch.Tensor, ended: Container[int]) -> list[int]:
    return logits.argmax(dim=-1).tolist()


class _Draw:
    """A `Choice` that samples, with random numbers of its own for each sequence."""

    def __init__(self, sampling: Sampling, seeds: Sequence[int], device: torch.device) -> None:
        self.sampling = sampling
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.tokens = [0] * len(seeds)

    def __call__(self, logits: torch.Tensor, ended: Container[int]) -> list[int]:
        logits = logits.float()
        # Relative to the largest logit, a low temperature does not overflow.
        scores = (logits - logits.amax(-1, keepdim=True)) / self.sampling.temperature
        # A judge whose logits are not finite is reported by its scores.
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
) -> Iterator[list[tuple[int, EncodedRecord]]]:
    """Numbered records with at most ``most`` questions in all, their answers replaced by the opening."""
    group: list[tuple[int, EncodedRecord]] = []
    room = most
    # The next token is chosen from the full vocabulary; the score only marks the position.
    answer = AnswerTokens(scale=(0,), lead=opening, scores=(0,), tail=())
    for number, record in enumerate(records):
        questions = [
            LabelledQuestion(replace(question.question, answer=answer), key=question.key)
            for question in record.questions
        ]
        while questions:
            part, questions = questions[:room], questions[room:]
            group.append((number, EncodedRecord(record.clips, tuple(part))))
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
    """Continues sequences by a complete pass per token.

    Args:
        records: one sequence per question.
        read: the pass: logits of the next token, ``[questions, vocabulary]``.
        copies: sequences per question.
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

    Sequences are padded on the left: an attention window counts the positions between two tokens in the cache, and
    padding between a prompt and its continuation would take a part of the window.

    Args:
        model: the judge.
        records: one sequence per question.
        pad: id of the padding token.
        device: where the model's inputs go.
        copies: sequences per question; their prompt is computed once.
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
        """The last hidden states ``[rows, tokens, hidden]``; extends the cache."""
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
        values: a row ends at its position in ``last``; what follows is padding.
        last: ``[rows]``.
        pad: the value of padding.

    Returns:
        the values, and a bool mask of the same shape, true where a token is real.
    """
    end = int(last.max())
    columns = torch.arange(-end, 1, device=last.device)[None] + last[:, None]
    real = columns >= 0
    return values.gather(1, columns.clamp(min=0)).masked_fill(~real, pad), real


def supports_cache(model: Any) -> bool:
    """Whether the judge's pass consists of decoder and head, which `CachedGeneration` computes step by step.

    It does not with virtual tokens, nor where a text model has further steps between decoder and head.
    """
    learns_tokens = getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False)
    return not learns_tokens and type(unwrap_judge(model)).logits_at is JudgeModel.logits_at
