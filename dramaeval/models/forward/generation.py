"""Letting a judge write: greedy decoding of thoughts and answers, the same for any batch.

Keys and values of what is before are kept, so that a token costs one small step. Where a judge's pass is not
a plain one (virtual tokens in front, a text model that does more on the way to its head), the pass of scoring
is repeated for every token instead, which is slower and writes the same. Both write what transformers' own
greedy generation writes (tests compare them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from transformers import DynamicCache

from dramaeval.models.forward.judge_model import JudgeModel
from dramaeval.models.inputs.audio_encodings import unwrap_judge
from dramaeval.models.inputs.collation import CLIP_INPUTS, EncodedRecord, LabelledQuestion, collate
from dramaeval.models.inputs.question_encoder import AnswerTokens, QuestionEncoder

ROWS = 16
"""Questions that are written to at a time: each holds the keys and values of its whole prompt."""


@dataclass(frozen=True)
class GeneratedText:
    """What was written: the text, without what ended it, and whether it was ended."""

    text: str
    finished: bool


class Continuation(Protocol):
    """Sequences on their way; ``logits`` of the next token, ``[sequences, vocabulary]``."""

    logits: torch.Tensor

    def feed(self, tokens: Sequence[int]) -> None:
        """Add a token to each and go on to the next."""


def generate(
    encoded_records: Sequence[EncodedRecord],
    encoder: QuestionEncoder,
    begin: Callable[[Sequence[EncodedRecord]], Continuation],
    *,
    opening: str,
    until: str,
    most: Sequence[int],
) -> list[list[GeneratedText]]:
    """Write on from every question of the encoded_records, the likeliest token each time.

    Args:
        encoded_records: their answers are ignored, only prompts and clips count.
        encoder: of their questions.
        begin: takes encoded_records up, one sequence a question (`CachedGeneration`, `UncachedGeneration`).
        opening: the text that is written already.
        until: ends the writing, and so does the end of the turn; it is looked for in the text.
        most: tokens that are written at most, for each encoded_record.

    Returns:
        for each encoded_record what was written to each of its questions, after ``opening``.
    """
    begun = encoder.opening(opening)
    found: list[list[GeneratedText]] = [[] for _ in encoded_records]
    for group in _groups(encoded_records, begun):
        owners = [at for at, encoded_record in group for _ in encoded_record.questions]
        limits = [most[at] for at in owners]
        texts = _write(
            begin([encoded_record for _, encoded_record in group]), encoder, until, limits
        )
        for at, text in zip(owners, texts, strict=True):
            found[at].append(text)
    return found


def _groups(
    encoded_records: Sequence[EncodedRecord], begun: tuple[int, ...]
) -> Iterator[list[tuple[int, EncodedRecord]]]:
    """The questions a few at a time, each encoded_record with its number, cut off where the answer begins."""
    group: list[tuple[int, EncodedRecord]] = []
    room = ROWS
    for at, encoded_record in enumerate(encoded_records):
        # What follows is read from the whole vocabulary; the one choice is there for form.
        answer = AnswerTokens(scale=(0,), lead=begun, scores=(0,), tail=())
        asked = [
            LabelledQuestion(question=replace(one.question, answer=answer), key=one.key)
            for one in encoded_record.questions
        ]
        while asked:
            part, asked = asked[:room], asked[room:]
            group.append((at, EncodedRecord(clips=encoded_record.clips, questions=tuple(part))))
            room -= len(part)
            if room == 0:
                yield group
                group, room = [], ROWS
    if group:
        yield group


def _write(
    going: Continuation, encoder: QuestionEncoder, until: str, limits: Sequence[int]
) -> list[GeneratedText]:
    said: list[list[int]] = [[] for _ in limits]
    done: dict[int, GeneratedText] = {}
    for length in range(1, max(limits) + 1):
        tokens = going.logits.argmax(dim=-1).tolist()
        for at, token in enumerate(tokens):
            if at in done:
                continue
            said[at].append(token)
            text = encoder.tokenizer.decode(said[at], skip_special_tokens=False)
            ends = [text.index(end) for end in (until, encoder.end_of_turn) if end in text]
            if ends:
                done[at] = GeneratedText(text[: min(ends)], finished=until in text)
            elif length == limits[at]:
                done[at] = GeneratedText(text, finished=False)
        if len(done) == len(said):
            break
        going.feed(tokens)
    return [done[at] for at in range(len(said))]


class UncachedGeneration:
    """Writes by the pass of scoring, over and over.

    Args:
        encoded_records: what is written to.
        logits: the pass: at the end of each question, ``[questions, vocabulary]``.
    """

    def __init__(
        self,
        encoded_records: Sequence[EncodedRecord],
        logits: Callable[[Sequence[EncodedRecord]], torch.Tensor],
    ) -> None:
        self.record_encoder = list(encoded_records)
        self.read = logits
        self.logits = logits(self.record_encoder)

    def feed(self, tokens: Sequence[int]) -> None:
        """See `Continuation.feed`."""
        left = iter(tokens)
        self.record_encoder = [
            replace(
                encoded_record,
                questions=tuple(_longer(one, next(left)) for one in encoded_record.questions),
            )
            for encoded_record in self.record_encoder
        ]
        self.logits = self.read(self.record_encoder)


def _longer(asked: LabelledQuestion, token: int) -> LabelledQuestion:
    answer = asked.question.answer
    answer = replace(answer, lead=(*answer.lead, token))
    return replace(asked, question=replace(asked.question, answer=answer))


class CachedGeneration:
    """Writes with the keys and values of what is before; see `supports_cache`.

    Args:
        model: the judge.
        encoded_records: what is written to.
        pad: the padding token.
        device: where the model's inputs go.
        copies: sequences that go on from each question; what is before is computed once for all of them.
    """

    def __init__(
        self,
        model: Any,
        encoded_records: Sequence[EncodedRecord],
        pad: int,
        device: torch.device,
        copies: int = 1,
    ) -> None:
        self.model = unwrap_judge(model)
        batch = collate(encoded_records, pad=pad, shared_prefix=False).to(device)
        inputs = batch.inputs
        ids = inputs["input_ids"]
        rows, self.last = inputs["answer_index"].unbind(-1)
        self.mask = torch.arange(ids.shape[1], device=ids.device)[None] <= self.last[:, None]
        clips = {key: inputs[key] for key in CLIP_INPUTS if key in inputs}
        self.cache = DynamicCache()
        embeddings, positions = self.model.embed(ids, **clips), inputs["position_ids"]
        if self.model.reads_last:
            places = self.model.places(inputs["answer_index"], inputs_embeds=embeddings)
            last = self._run(embeddings, positions, read_at=places)[0]
        else:
            last = self._run(embeddings, positions)[rows, self.last]
        self.logits = self._head(last)
        if copies > 1:
            self.cache.batch_repeat_interleave(copies)
            self.mask = self.mask.repeat_interleave(copies, dim=0)
            self.last = self.last.repeat_interleave(copies)
            self.logits = self.logits.repeat_interleave(copies, dim=0)

    def feed(self, tokens: Sequence[int]) -> None:
        """See `Continuation.feed`."""
        with torch.inference_mode():
            self._feed(tokens)

    def _feed(self, tokens: Sequence[int]) -> None:
        ids = torch.tensor(tokens, device=self.mask.device)[:, None]
        self.last = self.last + 1
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        self.logits = self._head(self._run(self.model.embed(ids), self.last[:, None])[:, 0])

    def _run(
        self, embeddings: torch.Tensor, position_ids: torch.Tensor, **more: Any
    ) -> torch.Tensor:
        found = self.model.decoder(
            inputs_embeds=embeddings,
            attention_mask=self.mask.long(),
            position_ids=position_ids,
            cache=self.cache,
            use_cache=True,
            **more,
        )
        return found.last_hidden_state

    def _head(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.model.get_output_embeddings()(hidden)


def supports_cache(model: Any) -> bool:
    """Whether a judge's pass is the plain one that `CachedGeneration` does step by step."""
    learns_tokens = getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False)
    plain = type(unwrap_judge(model))
    return not learns_tokens and plain.read is JudgeModel.read
