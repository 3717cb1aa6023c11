"""From records to sheets: clips decoded and transformed once, prompts rendered and tokenised once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from dramaeval.data.audio import UnreadableClipError, decode
from dramaeval.data.logmel import ClipFeatures, LogMel
from dramaeval.data.problems import BadRecordsError, Problem
from dramaeval.data.records import Record
from dramaeval.models.batch import Asked, Sheet
from dramaeval.models.loading import Family
from dramaeval.models.questions import EncodedQuestion, QuestionEncoder
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task


class SheetMaker:
    """Prepares records for the model; keeps what it has prepared.

    Args:
        task: renders the questions.
        processor: the model's processor.
        family: knows how many tokens a clip takes.
        max_seconds: longer clips are cut there; they have been refused before unless trimming was asked for.
        cache_clips: how many clips' features stay in memory (about 50 kB a second of sound).
    """

    def __init__(
        self,
        task: Task,
        processor: Any,
        family: Family,
        *,
        max_seconds: float,
        cache_clips: int,
    ) -> None:
        self.task = task
        self.family = family
        self.processor = processor
        self.max_seconds = max_seconds
        self.cache_clips = cache_clips
        self.encoder = QuestionEncoder(
            processor,
            family.end_of_turn(processor),
            partial(family.render, processor),
            partial(family.tokenise, processor),
        )
        tokenizer = self.encoder.tokenizer
        if family.hears:
            self.logmel = LogMel(processor.feature_extractor)
            self.audio_token: int = tokenizer.convert_tokens_to_ids(processor.audio_token)
        # Padding is never looked at, so that any token will do where there is none for it.
        pads = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        self.pad: int = next(one for one in pads if one is not None)
        self._features = lru_cache(maxsize=cache_clips)(self._listen)
        self._prompts: dict[tuple[str, int, str], EncodedQuestion] = {}

    def sheet(
        self,
        record: Record,
        dimensions: Sequence[Dimension],
        targets: Sequence[np.ndarray] | None = None,
    ) -> Sheet:
        """A record's clip and questions, ready for `dramaeval.models.batch.collate`.

        Args:
            record: the record.
            dimensions: what is asked about it.
            targets: a distribution over the scale for each, in training.

        Raises:
            BadRecordsError: the clip's header was sound, but its samples are not.
        """
        return self.sheet_of(
            record, self._heard(record) if self.family.hears else None, dimensions, targets
        )

    def sheet_of(
        self,
        record: Record,
        clip: ClipFeatures | None,
        dimensions: Sequence[Dimension],
        targets: Sequence[np.ndarray] | None = None,
    ) -> Sheet:
        """The same for a clip whose features are at hand already, whatever file the record names.

        Args:
            record: the record.
            clip: its features; None for a judge that only reads.
            dimensions: what is asked about it.
            targets: a distribution over the scale for each, in training.

        Raises:
            BadRecordsError: the clip is too short for the encoder.
        """
        questions = [self.question(record, dimension) for dimension in dimensions]
        clips: tuple[ClipFeatures, ...] = ()
        if clip is not None:
            examples = self.task.examples(record)
            clips = (*(self._heard(example) for example in examples), clip)
            lengths = [
                self._length(of, one) for of, one in zip((*examples, record), clips, strict=True)
            ]
            questions = [one.with_audio(self.audio_token, lengths) for one in questions]
        asked = tuple(
            Asked(
                question=question,
                target=None if targets is None else targets[at],
                about=(record.id, dimension.key),
            )
            for at, (question, dimension) in enumerate(zip(questions, dimensions, strict=True))
        )
        return Sheet(clips=clips, asked=asked)

    def question(self, record: Record, dimension: Dimension) -> EncodedQuestion:
        """The tokens of one question, its audio placeholder standing once."""
        key = (str(record.file), record.line, dimension.key)
        if key not in self._prompts:
            messages = self.messages(record, dimension)
            self._prompts[key] = self.encoder.encode(messages, dimension.scale)
        return self._prompts[key]

    def messages(self, record: Record, dimension: Dimension) -> list[dict[str, Any]]:
        """The question as its task renders it."""
        return self.task.messages(record, dimension)

    def _length(self, record: Record, clip: ClipFeatures) -> int:
        """Prompt positions that a clip takes."""
        length = self.family.audio_tokens(clip.frames)
        if length == 0:
            reason = f"lasts {record.seconds:.3f} s, too short to be heard"
            raise BadRecordsError([_problem(record, reason, "leave it out")])
        return length

    def _heard(self, record: Record) -> ClipFeatures:
        try:
            return self._features(str(record.clip))
        except UnreadableClipError as error:
            raise BadRecordsError([_problem(record, error.reason, error.fix)]) from None

    def _listen(self, clip: str) -> ClipFeatures:
        waveform = decode(clip, self.logmel.sampling_rate, max_seconds=self.max_seconds)
        return self.logmel(waveform)


def _problem(record: Record, reason: str, fix: str) -> Problem:
    return Problem(
        file=record.file, line=record.line, id=record.id, key="clip", problem=reason, fix=fix
    )
