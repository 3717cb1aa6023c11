"""`Judge`: loads a judge and scores clips as the stage ``evaluate`` does, with its prompts, batches and softmax."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.api.clip_input import (
    dimension_keys,
    rate_of,
    raters_of,
    references_of,
    require_count,
    require_usable_prompts,
    texts_of,
    turns_of,
)
from dramaeval.api.judge_location import full_model_folder, locate
from dramaeval.api.own_tasks import NO_SCORES, own_tasks, task_of_scores
from dramaeval.api.pair_comparison import Comparison, comparison_of_scores, direct_comparisons
from dramaeval.api.saved_judge import require_same_examples
from dramaeval.api.score_results import ClipScores, RewardsClips, ScoreList
from dramaeval.api.waveform_encoder import Clip, WaveformEncoder
from dramaeval.config.composition import choices, compose
from dramaeval.config.home_folder import expand_home
from dramaeval.config.judge_config import neutral_labels
from dramaeval.config.judge_file import SavedJudge, read_judge
from dramaeval.config.literal import literal
from dramaeval.config.task_parts import parts_of
from dramaeval.config.task_schema import split_files, text_of
from dramaeval.evaluation.predictions import SCORED, Prediction
from dramaeval.evaluation.scoring import AnyPrediction, score
from dramaeval.models.adapters import load_adapter
from dramaeval.models.checkpoint import check_whole
from dramaeval.models.devices import check_adapter_fits, choose_device
from dramaeval.models.errors import ModelError
from dramaeval.models.families.base import Family
from dramaeval.stages.base_model import base_quantization, front_end_problem
from dramaeval.stages.builders import build_family, build_quantization, build_task
from dramaeval.stages.converted_sources import jsonl_of
from dramaeval.tasks.pair import DIRECT, PairTask
from dramaeval.tasks.task import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Score:
    """The score of one clip on one dimension.

    Attributes:
        scale: the possible scores in ascending order, in the raters' unit.
        labels: the label of each score; empty if the scale has numbers only.
        distribution: the probability of each score; the sum is 1. None for a regression head.
        expected: the expected score Σ k·p(k), or the number of a regression head; None without a score.
        spread: the standard deviation √Σ p(k)·(k − expected)²; None without a distribution.
        state: ``scored``, or the reason for a missing score, such as a thought that did not end.
    """

    scale: tuple[float, ...]
    distribution: tuple[float, ...] | None
    expected: float | None
    spread: float | None
    state: str = SCORED
    labels: tuple[str, ...] = ()


class Judge(RewardsClips):
    """An audio language model that scores clips; `Judge.load` returns one.

    Attributes:
        model: a `JudgeModel`, or PEFT's wrapper around one.
        family: the family (architecture) of the model.
        processor: the model's processor.
        config: the configuration of the judge's run, or the default configuration.
    """

    def __init__(self, model: Any, family: Family, processor: Any, config: DictConfig) -> None:
        self.model = model
        self.family = family
        self.processor = processor
        self.config = config
        self._tasks: dict[tuple[str, ...], Task] = {}
        self._saved: SavedJudge | None = None  # the content of judge.yaml, if the judge has one

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        device: str = "auto",
        trust: Sequence[str] = (),
        trust_remote_code: bool = False,
        offload_folder: str | os.PathLike[str] | None = None,
    ) -> Judge:
        """Load a judge.

        A folder is read as data. Its ``config.yaml`` may name only the families and tasks of this package and
        transformers' `BitsAndBytesConfig`; interpolations in it (``${…}``) are not resolved. Code beside the weights
        does not run. Weights that are not safetensors are read with ``weights_only=True``. Objectives, metrics, rewards
        and label policies of the run are not built.

        Args:
            path: a run folder, a model or adapter folder, a name in ``configs/model/`` such as ``tiny``, the name of a
                base model on the hub, or ``hf://owner/name@revision`` for a published judge. The rubric and the wording
                come from the run folder, or from ``judge.yaml`` beside the weights; else the defaults are used.
            device: auto, cpu or cuda.
            trust: further modules, or full names of classes, that a run folder may name, for your own families and
                tasks: ``trust=["my_judge"]``. They must be importable.
            trust_remote_code: whether Python code that comes with the model, or with the base of an adapter,
                may run; as in transformers.
            offload_folder: folder for the weights that ``model.device_map`` places on disk. The run's own setting of
                this folder is not used.

        Raises:
            ModelError: ``path`` holds no judge, a file is damaged, the judge was trained with another version of the
                log-mel features, or there is no GPU.
            ConfigError: the folder needs ``trust`` or ``trust_remote_code``, or its settings are not valid.
        """
        torch_device = choose_device(device)
        trusted = [trust] if isinstance(trust, str) else trust
        config, start = locate(str(path), trusted, trust_remote_code)
        if start:
            check_whole(start.folder)
        if trust_remote_code:
            config.model.trust_remote_code = True
        if offload_folder is not None:
            config.model.offload_folder = literal(str(offload_folder))
        family = build_family(config)
        saved = read_judge(start.folder) if start else None
        if family.takes_audio and (problem := front_end_problem(saved)):
            raise ModelError(
                f"{problem}. Install the version of dramaeval that the file names, or evaluate with "
                "checkpoint_override=true on the command line."
            )
        base = full_model_folder(start) if start else None
        adapter = start.folder if start and start.adapter else None
        is_full_model = start is not None and adapter is None
        quantization = None if is_full_model else build_quantization(config)
        model = family.load(
            torch_device, base, quantization=base_quantization(quantization, adapter)
        )
        if config.batch.shared_prefix and family.supports_shared_prefix():
            family.check_shared_prefix(model)
        if adapter is not None:
            check_adapter_fits(model)
            model = load_adapter(model, adapter, trainable=False).eval()
        judge = cls(model, family, family.processor(base), config)
        judge._saved = saved
        return judge

    @property
    def shared_prefix(self) -> bool:
        """Whether the questions about a clip share a row of a batch; see `dramaeval.models.inputs.collation.collate`."""
        return bool(self.config.batch.shared_prefix) and self.family.supports_shared_prefix()

    def task(self, name: str, dimensions: Sequence[str] | None = None) -> Task:
        """The task with a name: a task of the run, or a task in ``configs/task/`` with default settings.

        Raises:
            ValueError: the task or the dimension is unknown; the message lists the choices.
        """
        keys = dimension_keys(dimensions)
        key = (str(name), *(keys or ()))
        if key not in self._tasks:
            run_tasks = parts_of(self.config.task)
            known = sorted({*choices("task"), *run_tasks} - NO_SCORES)
            if name not in known:
                raise ValueError(f"task={name!r} is not known; choose one of {', '.join(known)}.")
            config = self.config.copy() if name in run_tasks else compose(f"task={name}")
            if name in run_tasks:
                config.task = neutral_labels(run_tasks[name])
            if keys is not None:
                OmegaConf.update(config, "task.dimensions", literal(list(keys)))
            self._tasks[key] = build_task(config)
            if self._tasks[key].shots:
                self._show_examples(self._tasks[key], config)
        return self._tasks[key]

    def task_of_clips(self, name: str, dimensions: Sequence[str] | None = None) -> Task:
        """As `task`; for a `PairTask`, the task that scores each clip separately.

        Raises:
            ValueError: as for `task`; also if the task compares two clips in one prompt.
        """
        task = self.task(name, dimensions)
        return task.for_single_clips() if isinstance(task, PairTask) else task

    def _show_examples(self, task: Task, config: DictConfig) -> None:
        """Give a few-shot task the examples of its run.

        Raises:
            ValueError: the file of the training split does not exist, or its records have changed since the training.
            BadRecordsError: the records are not valid.
        """
        file = split_files(config.task.data).get("train")
        if file is None or not expand_home(file).exists():
            raise ValueError(
                f"This judge was run with task.shots={task.shots}: its examples come from "
                f"{file or 'its training records'}, which are not there: give the run folder, with the records "
                "where they were."
            )
        data = config.task.data
        training = task.read(
            jsonl_of(config, "train", file),
            reads_audio=self.family.takes_audio,
            audio_root=data.audio_root,
            on_bad=text_of(data.on_bad),
            max_seconds=data.max_seconds,
            on_long=text_of(data.on_long),
            workers=data.workers,
        )
        expected = self._saved.examples if self._saved else None
        require_same_examples(expected, training.records, reads_audio=self.family.takes_audio)
        task.show_examples(training.records, config.seed)

    def score(
        self,
        audio: Clip | Sequence[Clip],
        task: str | None = None,
        *,
        dimensions: Sequence[str] | None = None,
        sampling_rate: int | None = None,
        sample_rate: int | None = None,
        reference: Clip | Sequence[Clip] | None = None,
        turns: Sequence[Any] | None = None,
        rater: str | Sequence[str | None] | None = None,
        clips_a_batch: int = 8,
        **context: str | Sequence[str],
    ) -> Any:
        """Score one or several clips on every dimension of a task.

        Args:
            audio: a file path, a float array ``[samples]`` (mono, about −1 to 1), a mapping with ``array`` and
                ``sampling_rate`` or a decoder (an audio column), or a list of these.
            task: name of the task; None means the task of the judge's run, and ``role`` if the run has several tasks
                with ``role`` among them, or none with scores.
            dimensions: keys of the dimensions to score; None means all dimensions of the task.
            sampling_rate: sampling rate of arrays, in Hz; None means the rate of the model.
            sample_rate: another name of ``sampling_rate``.
            reference: the recording with which a clip is compared, if dimensions of the rubric have
                ``reference: true``; one for all clips, or a list with one for each clip.
            turns: the turns of the conversation before a clip, for a judge with ``task.turns=text`` or ``audio``: a list
                of mappings with ``role``, ``text`` and optionally ``wav_path`` (a file, or an array as in ``audio``) for
                all clips, or a list of such lists, one for each clip.
            rater: the rater whose scores a judge with ``task.listeners=embed`` predicts, for all clips or as a list;
                None means the mean of all raters.
            clips_a_batch: number of clips per forward pass; it changes memory and speed, not scores.
            context: the texts of the task, for ``role``: ``scene``, ``profile``, ``age``, ``style``,
                ``transcript``; one text for all clips, or a list with one for each clip. The keys of records
                (``local_scene``) are also valid. With ``task.thought_in_scoring=given`` also ``thought``.

        Returns:
            a dictionary from dimension key to `Score`; for a list of clips, a list of dictionaries in the same order.
            The method ``to_frame()`` of both returns a pandas DataFrame; see `dramaeval.api.score_results`.

        Raises:
            ValueError: a text is missing, unknown or contains markup of the model, a question is longer than the model's
                positions, an array is not a clip, or another argument is not valid.
            UnreadableClipError: a file cannot be decoded.
        """
        sampling_rate = rate_of(sampling_rate, sample_rate)
        require_count(clips_a_batch, "clips_a_batch")
        is_list = isinstance(audio, list | tuple)
        clips: list[Any] = list(audio) if isinstance(audio, list | tuple) else [audio]
        if not clips:
            return ScoreList()
        task = task or task_of_scores(self.config)
        scored_task = self.task_of_clips(task, dimensions)
        if not scored_task.rated_dimensions:
            raise ValueError(f"task={task!r} asks for an option: it has no scores.")
        texts = texts_of(scored_task, context, len(clips))
        references = references_of(scored_task, reference, len(clips))
        all_turns = turns_of(scored_task, turns, len(clips))
        known = self._saved.raters if self._saved else None
        raters = raters_of(scored_task, rater, len(clips), known)
        record_encoder = self._encoder(scored_task, len(clips), sampling_rate)
        inputs = zip(clips, references, texts, all_turns, raters, strict=True)
        records = [record_encoder.record(number, *of_clip) for number, of_clip in enumerate(inputs)]
        require_usable_prompts(record_encoder, records, self.model)
        predictions = score(
            self.model,
            records,
            record_encoder,
            clips_a_batch=clips_a_batch,
            shared_prefix=self.shared_prefix,
        )
        scores = ScoreList(ClipScores() for _ in clips)
        labels = {dimension.key: dimension.labels for dimension in scored_task.rated_dimensions}
        for prediction in predictions:
            key = prediction.dimension
            scores[int(prediction.id)][key] = _score(prediction, labels.get(key, ()))
        return scores if is_list else scores[0]

    def compare(
        self,
        a: Clip,
        b: Clip,
        task: str | None = None,
        *,
        dimensions: Sequence[str] | None = None,
        sampling_rate: int | None = None,
        sample_rate: int | None = None,
        reference: Clip | None = None,
        turns: Sequence[Any] | None = None,
        **context: str,
    ) -> dict[str, Comparison]:
        """Compare two clips with the same context on every dimension of a task.

        A task of ratings, or a task of pairs with ``task.by=score``, scores each clip separately; the probabilities
        follow from the difference of the expected scores (see `dramaeval.models.forward.pair_outcomes`), and exchanging
        the clips reverses them exactly. With ``task.by=direct`` they are the mean over both orders of presentation.

        Args:
            a: the first clip, as for `score`.
            b: the second clip.
            task: name of the task; None means the run's task of pairs, or ``pair`` if the run has none.
            dimensions: keys of the dimensions to compare; None means all dimensions of the task.
            sampling_rate: sampling rate of arrays, in Hz, as for `score`.
            sample_rate: another name of ``sampling_rate``.
            reference: the recording with which both clips are compared, as for `score`.
            turns: the turns of the conversation before both clips, as for `score`.
            context: the texts of the task, which both clips share.

        Returns:
            a `Comparison` by dimension key.

        Raises:
            ValueError: as for `score`; also if a clip has no score, for example because its thought did not end.
        """
        sampling_rate = rate_of(sampling_rate, sample_rate)
        task = task or self._task_of_pairs()
        compared = self.task(task, dimensions)
        if isinstance(compared, PairTask) and compared.by == DIRECT:
            (texts,) = texts_of(compared, context, 1)
            (reference,) = references_of(compared, reference, 1)
            (before,) = turns_of(compared, turns, 1)
            return direct_comparisons(
                self.model, self._encoder(compared, 2, sampling_rate), compared, (a, b), texts,
                reference=reference, turns=before, shared_prefix=self.shared_prefix,
            )  # fmt: skip
        # With one clip per pass, no bit of a score depends on the other clip.
        settings: dict[str, Any] = {
            "dimensions": dimensions,
            "sampling_rate": sampling_rate,
            "reference": reference,
            "turns": turns,
            **context,
        }
        of_a, of_b = self.score([a, b], task, clips_a_batch=1, **settings)
        slope, tie_weight = 1.0, 1.0
        if isinstance(compared, PairTask):
            slope, tie_weight = compared.slope, compared.tie_weight
        return {key: comparison_of_scores(of_a[key], of_b[key], slope, tie_weight) for key in of_a}

    def _task_of_pairs(self) -> str:
        """The name of the run's task of pairs; ``pair`` if the run has none."""
        own = (name for name in own_tasks(self.config) if isinstance(self.task(name), PairTask))
        return next(own, "pair")

    def _encoder(self, task: Task, clips: int, array_rate: int | None) -> WaveformEncoder:
        """An encoder of a task's records that caches the features of this number of records."""
        return WaveformEncoder(
            task,
            self.processor,
            self.family,
            cache_clips=clips * (2 + task.shots),
            data=self.config.task.data,
            array_rate=array_rate,
        )


def _score(prediction: AnyPrediction, labels: tuple[str, ...]) -> Score:
    if not isinstance(prediction, Prediction):
        raise ValueError(f"audio[{prediction.id}]: the prediction is an option, not a score.")
    expected, distribution = prediction.expected, prediction.distribution
    spread = None
    if distribution is not None and expected is not None:
        pairs = zip(prediction.scale, distribution, strict=True)
        spread = sum(share * (score - expected) ** 2 for score, share in pairs) ** 0.5
    return Score(
        scale=prediction.scale,
        distribution=distribution,
        expected=expected,
        spread=spread,
        state=prediction.state,
        labels=labels,
    )
