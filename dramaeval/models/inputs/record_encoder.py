"""From records to record_encoder: clips decoded and transformed once, prompts rendered and tokenised once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch

from dramaeval.data.audio import UnreadableClipError, decode
from dramaeval.data.feature_cache import FeatureCache, content_key
from dramaeval.data.logmel import ClipFeatures, EncodedClip, LogMel, PaddedLogMel
from dramaeval.data.problems import BadRecordsError, Problem
from dramaeval.data.records import Record
from dramaeval.models.families.base import Family
from dramaeval.models.inputs.audio_encodings import AudioEncodingCache
from dramaeval.models.inputs.collation import EncodedRecord, LabelledQuestion
from dramaeval.models.inputs.question_encoder import EncodedQuestion, QuestionEncoder
from dramaeval.tasks.processed import inline_audio
from dramaeval.tasks.question import Question
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Target, Task

#: One a dimension, in the order in which they are asked, or by the dimension's key.
Targets = Sequence[np.ndarray | Target] | Mapping[str, np.ndarray | Target]
#: Tokenised questions that stay in memory, a few kB each.
_PROMPTS_KEPT = 50_000


class RecordEncoder:
    """Prepares records for the model; keeps what it has prepared.

    Args:
        task: renders the questions.
        processor: the model's processor.
        family: knows how many tokens a clip takes.
        max_seconds: longer clips are cut there; they have been refused before unless trimming was asked for.
        cache_clips: how many clips' features stay in memory (about 50 kB a second of sound).
        cache: keeps log-mels on disk; None works them out anew in every process.

    Attributes:
        encoding_cache: recalls what the judge's audio tower made of clips before, where the tower is frozen: such
            clips are neither decoded nor encoded again. Set by who loads the judge.
        decoded: how many clips were decoded.
    """

    encoding_cache: AudioEncodingCache | None = None

    def __init__(
        self,
        task: Task,
        processor: Any,
        family: Family,
        *,
        max_seconds: float,
        cache_clips: int,
        cache: FeatureCache | None = None,
    ) -> None:
        self.task = task
        self.family = family
        self.processor = processor
        self.max_seconds = max_seconds
        self.cache_clips = cache_clips
        self.cache = cache
        self.decoded = 0
        self.encoder = QuestionEncoder(
            processor,
            family.end_of_turn(processor),
            partial(family.render, processor),
            partial(family.tokenise, processor),
        )
        tokenizer = self.encoder.tokenizer
        if family.takes_audio:
            transform = PaddedLogMel if "log_mel" in family.plain else LogMel
            self.logmel = transform(processor.feature_extractor)
            self.audio_token: int = tokenizer.convert_tokens_to_ids(processor.audio_token)
        # Padding is never looked at, so that any token will do where there is none for it.
        pads = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        self.pad: int = next(one for one in pads if one is not None)
        self._features = lru_cache(maxsize=cache_clips)(self._listen)
        self._encodings: dict[str, EncodedClip] = {}
        self._prompts: dict[Hashable, list[EncodedQuestion]] = {}

    def for_task(self, task: Task) -> RecordEncoder:
        """One that prepares the same clips for another task."""
        other = RecordEncoder(
            task,
            self.processor,
            self.family,
            max_seconds=self.max_seconds,
            cache_clips=self.cache_clips,
            cache=self.cache,
        )
        other.encoding_cache = self.encoding_cache
        return other

    def encode(
        self, record: Record, asked: Sequence[Dimension | Question], targets: Targets | None = None
    ) -> EncodedRecord:
        """A record's clip and questions, ready for `dramaeval.models.inputs.collation.collate`.

        Args:
            record: the record.
            asked: what is asked about it: dimensions, in the words of scoring, or questions.
            targets: in training, for each dimension a distribution over its scale: in the order of the
                dimensions, or by key.

        Raises:
            BadRecordsError: the clip's header was sound, but its samples are not.
        """
        return self.encode_with_clip(
            record, self._heard(record) if self.family.takes_audio else None, asked, targets
        )

    def encode_with_clip(
        self,
        record: Record,
        clip: ClipFeatures | EncodedClip | None,
        asked: Sequence[Dimension | Question],
        targets: Targets | None = None,
    ) -> EncodedRecord:
        """The same for a clip whose features are at hand already, whatever file the record names.

        Args:
            record: the record.
            clip: its features; None for a judge that only reads.
            asked: what is asked about it.
            targets: as in `encoded_record`.

        Raises:
            BadRecordsError: the clip is too short for the encoder.
        """
        wanted = _by_key(asked, targets)
        questions = self.questions(record, asked)
        places = [self._encoded(record, question) for question in questions]
        clips: tuple[ClipFeatures | EncodedClip, ...] = ()
        if clip is not None:
            examples = self.task.examples(record)
            clips = (*(self._heard(example) for example in examples), clip)
            lengths = [
                self._length(of, one) for of, one in zip((*examples, record), clips, strict=True)
            ]
            places = [
                [one.with_audio(self.audio_token, lengths) for one in answer] for answer in places
            ]
        made = []
        for question, encoded in zip(questions, places, strict=True):
            for number, (place, tokens) in enumerate(zip(question.places, encoded, strict=True)):
                target = wanted[place.dimension.key] if wanted is not None else None
                made.append(
                    LabelledQuestion(
                        question=tokens,
                        target=None if target is None else target.distribution,
                        key=(record.id, place.dimension.key),
                        written_choice=None if target is None else target.written,
                        continues_answer=number > 0,
                    )
                )
        return EncodedRecord(clips=clips, questions=tuple(made))

    def questions(self, record: Record, asked: Sequence[Dimension | Question]) -> list[Question]:
        """The questions that a encoded_record asks, dimensions in the words of scoring."""
        dimensions = [one for one in asked if isinstance(one, Dimension)]
        given = [one for one in asked if isinstance(one, Question)]
        return [*self.task.questions(record, dimensions), *given] if dimensions else given

    def question(self, record: Record, dimension: Dimension) -> EncodedQuestion:
        """The tokens of the question about one dimension, its audio placeholder standing once."""
        (question,) = self.questions(record, [dimension])
        return self._encoded(record, question)[0]

    def _encoded(self, record: Record, question: Question) -> list[EncodedQuestion]:
        """The tokens of each place of a question's answer."""
        order = tuple(place.lead for place in question.places)
        key = (str(record.file), record.line, question.key, order)
        if key not in self._prompts:
            if len(self._prompts) >= _PROMPTS_KEPT:
                self._prompts.clear()
            self._prompts[key] = self.encoder.encode_question(question)
        return self._prompts[key]

    def _length(self, record: Record, clip: ClipFeatures | EncodedClip) -> int:
        """Prompt positions that a clip takes."""
        length = self.family.audio_tokens(clip.frames)
        if length == 0:
            reason = f"lasts {record.seconds:.3f} s, too short to be heard"
            raise BadRecordsError([_problem(record, reason, "leave it out")])
        return length

    def _heard(self, record: Record) -> ClipFeatures | EncodedClip:
        held = inline_audio(record)
        if held is not None:
            return self.logmel(held[: int(self.max_seconds * self.logmel.sampling_rate)])
        path = str(record.clip)
        try:
            return self._recalled(path) or self._features(path)
        except UnreadableClipError as error:
            raise BadRecordsError([_problem(record, error.reason, error.fix)]) from None

    def _recalled(self, path: str) -> EncodedClip | None:
        """What the judge's frozen tower made of a clip before."""
        if self.encoding_cache is None:
            return None
        if path not in self._encodings:
            found = self.encoding_cache.recall(self._key(path))
            if found is None:
                return None
            if len(self._encodings) >= self.cache_clips:
                self._encodings.pop(next(iter(self._encodings)))
            self._encodings[path] = found
        return self._encodings[path]

    def forget_encodings(self) -> None:
        """Hear every clip again: the tower is not what it was."""
        self.encoding_cache = None
        self._encodings.clear()

    def _key(self, path: str) -> str:
        """Under what a clip's features are kept; empty where they are not."""
        if self.cache is None:
            return ""
        try:
            return f"{self.logmel.name} {self.max_seconds:g} {content_key(path)}"
        except OSError:
            return ""  # decoding says what is wrong with it

    def _listen(self, path: str) -> ClipFeatures:
        key = self._key(path)
        if self.cache is not None and key and (kept := self.cache.get(f"log-mel {key}")):
            values = kept["values"].numpy()
            return ClipFeatures(values, int(kept["frames"]), float(kept["floor"]), key)
        waveform = decode(path, self.logmel.sampling_rate, max_seconds=self.max_seconds)
        self.decoded += 1
        clip = replace(self.logmel(waveform), key=key)
        # Where the tower's output is kept, nobody asks for what went into it.
        if self.cache is not None and key and self.encoding_cache is None:
            whole = {
                "values": torch.from_numpy(clip.values),
                "frames": torch.tensor(clip.frames),
                "floor": torch.tensor(clip.floor, dtype=torch.float64),
            }
            self.cache.put(f"log-mel {key}", whole)
        return clip


def _problem(record: Record, reason: str, fix: str) -> Problem:
    return Problem(
        file=record.file, line=record.line, id=record.id, key="clip", problem=reason, fix=fix
    )


def _by_key(
    asked: Sequence[Dimension | Question], targets: Targets | None
) -> dict[str, Target] | None:
    """Targets by dimension key."""
    if targets is None:
        return None
    if isinstance(targets, Mapping):
        pairs = dict(targets)
    else:
        keys = [one.key for one in asked if isinstance(one, Dimension)]
        pairs = dict(zip(keys, targets, strict=True))
    return {key: one if isinstance(one, Target) else Target(one) for key, one in pairs.items()}
