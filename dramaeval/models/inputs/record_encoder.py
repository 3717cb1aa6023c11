"""Encodes records: each clip is decoded and transformed once, each prompt is rendered and tokenised once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np

from dramaeval.data.audio import UnreadableClipError, decode
from dramaeval.data.feature_cache import FeatureCache
from dramaeval.data.files import content_key
from dramaeval.data.inline_audio import clip_samples, inline_audio
from dramaeval.data.logmel import ClipFeatures
from dramaeval.data.problems import BadRecordsError
from dramaeval.data.records import Record
from dramaeval.models.chat_templates import content_parts
from dramaeval.models.families.base import Family
from dramaeval.models.forward.judge_model import unwrap_judge
from dramaeval.models.inputs.audio_encodings import AudioEncodingCache
from dramaeval.models.inputs.batch import EncodedRecord, LabelledQuestion, Preference
from dramaeval.models.inputs.question_encoder import EncodedQuestion, QuestionEncoder
from dramaeval.models.inputs.text_check import TextCheck
from dramaeval.models.inputs.windows import (
    WindowCache,
    Windows,
    clip_windows,
    window_frames,
    with_audio_parts,
)
from dramaeval.tasks.question import Question, Target
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task

#: A target for each dimension, in the order of the dimensions or by their keys.
Targets = Sequence[np.ndarray | Target] | Mapping[str, np.ndarray | Target]


class RecordEncoder:
    """Encodes records for a model, and keeps features and prompts in memory.

    Args:
        task: renders the questions.
        processor: the model's processor.
        family: the model's architecture.
        max_seconds: clips are cut at this length; longer clips are refused earlier unless trimming is configured.
        cache_clips: number of clips whose features stay in memory (about 50 kB per second of audio).
        cache: stores log-mel features on disk; with None every process computes them.
        prompts_kept: number of tokenised questions that stay in memory, about 20 kB each.

    Attributes:
        encoding_cache: encodings of the judge's frozen audio tower, set by `attach_encoding_cache`.
        decoded: number of clips that were decoded.
        pad: id of the padding token.
        text_check: finds texts that the model would read as markup.
        audio_token: id of the audio placeholder, if the model takes audio.
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
        prompts_kept: int = 10_000,
    ) -> None:
        self.task = task
        self.family = family
        self.processor = processor
        self.max_seconds = max_seconds
        self.cache_clips = cache_clips
        self.cache = cache
        self.prompts_kept = prompts_kept
        self.decoded = 0
        tokenizer = getattr(processor, "tokenizer", processor)
        self.text_check = TextCheck(family, processor)
        self.encoder = QuestionEncoder(
            tokenizer,
            end_of_turn=family.end_of_turn(processor),
            render=partial(family.render, processor),
            tokenise=partial(family.tokenise, processor),
        )
        if family.takes_audio:
            self.logmel = family.log_mel(processor)
            self.audio_token: int = tokenizer.convert_tokens_to_ids(processor.audio_token)
            is_long = max_seconds * self.logmel.sampling_rate > self.logmel.max_samples
            self._window_cache = WindowCache(cache, has_long_clips=is_long)
        # Padding does not affect used positions, so that any token is suitable if the tokenizer has no padding token.
        pads = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
        self.pad: int = next(token for token in pads if token is not None)
        self._features = lru_cache(maxsize=cache_clips)(self._compute_features)
        self._encodings: dict[str, Windows] = {}
        self._prompts: dict[Hashable, list[EncodedQuestion]] = {}

    def for_task(self, task: Task, prompts_kept: int | None = None) -> RecordEncoder:
        """Make an encoder for another task; ``prompts_kept`` is that of this encoder by default."""
        other = RecordEncoder(
            task,
            self.processor,
            self.family,
            max_seconds=self.max_seconds,
            cache_clips=self.cache_clips,
            cache=self.cache,
            prompts_kept=self.prompts_kept if prompts_kept is None else prompts_kept,
        )
        other.encoding_cache = self.encoding_cache
        return other

    def encode(
        self,
        record: Record,
        questions: Sequence[Dimension | Question],
        targets: Targets | None = None,
    ) -> EncodedRecord:
        """Encode a record's clip and questions for `dramaeval.models.inputs.collation.collate`.

        Args:
            record: the record.
            questions: questions, or dimensions, which stand for their questions in scoring.
            targets: in training, a distribution over the scale of each dimension.

        Raises:
            BadRecordsError: the clip cannot be decoded although its header is valid.
        """
        return self.encode_with_clips(record, {}, questions, targets)

    def encode_with_clips(
        self,
        record: Record,
        clips: Mapping[Path, Windows] | None,
        questions: Sequence[Dimension | Question],
        targets: Targets | None = None,
    ) -> EncodedRecord:
        """Encode a record with other clips, see `encode`.

        Args:
            record: the record.
            clips: the windows of clips that replace clips of the record, by path; other clips of the record are read.
                None for questions whose prompts have no audio part.
            questions: see `encode`; questions with the same clips are adjacent.
            targets: see `encode`.

        Raises:
            BadRecordsError: a clip is too short for the encoder.
        """
        windows: dict[Path, Windows] = {}
        if self.family.takes_audio and clips is not None:
            for path in record.prompt_clips:
                windows[path] = clips.get(path) or self._clip_at(record, path)
        by_key = None if targets is None else _by_key(questions, targets)
        groups = groupby(self.questions(record, questions), key=lambda question: question.clips)
        parts = [self._part(record, windows, list(group), by_key) for _, group in groups]
        first, *others = parts or [self._part(record, windows, [], by_key)]
        return replace(first, others=tuple(others))

    def _part(
        self,
        record: Record,
        clips: Mapping[Path, Windows],
        questions: Sequence[Question],
        by_key: Mapping[str, Target] | None,
    ) -> EncodedRecord:
        """Encode questions whose prompts have the same clips."""
        parts: tuple[Windows, ...] = ()
        lengths: list[int] = []
        if clips:
            examples = self.task.examples(record)
            paths = (questions[0].clips if questions else None) or (record.clip,)
            parts = (*map(self.windows, examples), *(clips[path] for path in paths))
            sources = (*examples, *[record] * len(paths))
            lengths = self._placeholder_lengths(sources, parts)
        counts = tuple(map(len, parts))
        labelled = []
        for question in questions:
            fields = zip(
                question.answer_fields, self._encode_question(record, question, counts), strict=True
            )
            for number, (field, tokens) in enumerate(fields):
                target = None if by_key is None else by_key[field.dimension.key]
                labelled.append(
                    LabelledQuestion(
                        tokens.with_audio(self.audio_token, lengths) if parts else tokens,
                        key=(record.id, field.dimension.key),
                        continues_answer=number > 0,
                        **_labels(question, target),
                    )
                )
        return EncodedRecord(clips=tuple(chain.from_iterable(parts)), questions=tuple(labelled))

    def questions(
        self, record: Record, questions: Sequence[Dimension | Question]
    ) -> list[Question]:
        """The task's questions about the dimensions in ``questions``, then the finished questions in it."""
        dimensions = [item for item in questions if isinstance(item, Dimension)]
        rendered = [item for item in questions if isinstance(item, Question)]
        return [*self.task.questions(record, dimensions), *rendered] if dimensions else rendered

    def in_windows(self, question: Question, counts: Sequence[int]) -> Question:
        """Give every window of the clips in a prompt a placeholder, if the family's prompts need it.

        Args:
            question: the question.
            counts: number of windows of each clip in the prompt; clips of examples come first.
        """
        if not self.family.names_windows or max(counts, default=1) == 1:
            return question
        return replace(question, messages=with_audio_parts(question.messages, counts))

    def _encode_question(
        self, record: Record, question: Question, counts: tuple[int, ...]
    ) -> list[EncodedQuestion]:
        """The tokens of a question for each field of its answer, from memory if they are there."""
        order = tuple(field.lead for field in question.answer_fields)
        # Pairs that are derived from rated clips have the line of their clip a, which is in several pairs.
        of_record = (str(record.file), record.line, record.id, record.listener)
        key = (*of_record, question.key, order, counts)
        if key not in self._prompts:
            if len(self._prompts) >= self.prompts_kept:
                self._prompts.clear()
            self._require_text(record, question)
            self._prompts[key] = self.encoder.encode_question(self.in_windows(question, counts))
        return self._prompts[key]

    def _require_text(self, record: Record, question: Question) -> None:
        """Check that the texts of a question have no control tokens; most are found earlier (`TextCheck.problems`).

        Raises:
            BadRecordsError: a text has a control token; the problem names the record.
        """
        texts = [
            part["text"]
            for message in question.messages
            for part in content_parts(message["content"])
            if "text" in part
        ]
        for field in question.answer_fields:
            texts += [field.lead, field.tail, *field.choices]
        for text in texts:
            if reason := self.text_check.problem_of(text, tags=False):
                problem = record.problem("prompt", reason.problem, reason.fix)
                raise BadRecordsError([problem])

    def _placeholder_lengths(
        self, sources: Sequence[Record], parts: Sequence[Windows]
    ) -> list[int]:
        """The number of prompt positions of each audio placeholder; see `Family.names_windows`."""
        lengths: list[int] = []
        for record, windows in zip(sources, parts, strict=True):
            tokens = [self.family.audio_tokens(window.frames) for window in windows]
            if 0 in tokens:
                reason = f"lasts {record.seconds:.3f} s, too short to be encoded"
                raise BadRecordsError([record.problem("clip", reason, "leave it out")])
            lengths += tokens if self.family.names_windows else [sum(tokens)]
        return lengths

    def features(self, waveform: np.ndarray) -> tuple[ClipFeatures, ...]:
        """The features of each window of a waveform, mono float32 ``[samples]`` at the rate of `logmel`."""
        return clip_windows(self.family, self.logmel, waveform)

    def unread(self, frames: int) -> tuple[ClipFeatures, ...]:
        """The windows of a clip with this number of mel frames, without values."""
        empty = np.empty((0, 0), dtype=np.float32)
        counts = window_frames(self.family, self.logmel, frames)
        return tuple(ClipFeatures(empty, count, 0.0) for count in counts)

    def waveform(self, record: Record) -> np.ndarray:
        """A record's clip, mono float32 ``[samples]`` at the sampling rate of `logmel`, cut at ``max_seconds``.

        Raises:
            BadRecordsError: the clip cannot be decoded.
        """
        try:
            return clip_samples(record, self.logmel.sampling_rate, self.max_seconds)
        except UnreadableClipError as error:
            raise BadRecordsError([record.problem("clip", error.reason, error.fix)]) from None

    def windows(self, record: Record) -> Windows:
        """The windows of a record's clip: stored encodings, or features.

        Raises:
            BadRecordsError: the clip cannot be decoded.
        """
        return self._clip_at(record, record.clip)

    def _clip_at(self, record: Record, path: Path) -> Windows:
        """The windows of one of a record's clips, by its path."""
        if inline_audio(record) is not None:
            return self.features(self.waveform(record))
        try:
            return self._encoding(str(path)) or self._features(str(path))
        except UnreadableClipError as error:
            key = "clip" if record.clip_b is None else f"clip {path.name}"
            raise BadRecordsError([record.problem(key, error.reason, error.fix)]) from None

    def _encoding(self, path: str) -> Windows | None:
        """The stored encodings of a clip's windows; None if one is missing."""
        if self.encoding_cache is None:
            return None
        if path not in self._encodings:
            encodings = self._window_cache.encodings(self.encoding_cache, self._key(path))
            if encodings is None:
                return None
            if len(self._encodings) >= self.cache_clips:
                self._encodings.pop(next(iter(self._encodings)))
            self._encodings[path] = encodings
        return self._encodings[path]

    def set_encoding_cache(self, cache: AudioEncodingCache | None) -> None:
        """Set the stored encodings of an audio tower; with None every clip is encoded again."""
        self.encoding_cache = cache
        self._encodings.clear()

    def _key(self, path: str) -> str:
        """The key of a clip's features and encoding; empty if they are not stored."""
        if self.cache is None:
            return ""
        try:
            return f"{self.logmel.name} {self.max_seconds:g} {content_key(path)}"
        except OSError:
            return ""  # decoding reports the problem

    def _compute_features(self, path: str) -> tuple[ClipFeatures, ...]:
        key = self._key(path)
        if cached := self._window_cache.features(key):
            return cached
        waveform = decode(path, self.logmel.sampling_rate, max_seconds=self.max_seconds)
        self.decoded += 1
        windows = clip_windows(self.family, self.logmel, waveform, key)
        # If encodings are stored, the features are not needed again.
        self._window_cache.put(key, windows, features=self.encoding_cache is None)
        return windows


def attach_encoding_cache(
    model: Any, record_encoder: RecordEncoder, cache: AudioEncodingCache | None
) -> None:
    """Set the stored encodings of a judge and its record encoder; None removes them."""
    unwrap_judge(model).encoding_cache = cache
    record_encoder.set_encoding_cache(cache)


def _labels(question: Question, target: Target | None) -> dict[str, Any]:
    """The attributes of a labelled question that come from the target of its dimension."""
    if target is None:
        return {}
    pair = question.pair
    if pair is None:
        return {"target": target.distribution, "written_choice": target.written}
    if pair.is_direct:  # the target is for clip a, the answer is for the first clip of the prompt
        is_first = pair.order == "ab"
        return {"target": target.distribution if is_first else target.distribution[::-1]}
    preference = Preference(
        of_second=pair.order == "b",
        target=target.distribution,
        slope=pair.slope,
        tie_weight=pair.tie_weight,
    )
    return {"preference": preference}


def _by_key(questions: Sequence[Dimension | Question], targets: Targets) -> dict[str, Target]:
    if not isinstance(targets, Mapping):
        keys = [item.key for item in questions if isinstance(item, Dimension)]
        targets = dict(zip(keys, targets, strict=True))
    return {
        key: target if isinstance(target, Target) else Target(target)
        for key, target in targets.items()
    }
