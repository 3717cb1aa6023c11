"""A judge in Python: load one, score clips; the same records, prompts, batches and softmax as evaluation."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from dramaeval.api.clip_input import check_length, texts_of, waveform_of
from dramaeval.config.composition import choices, compose, compose_model
from dramaeval.config.judge_config import neutral_labels, read_judge_config
from dramaeval.config.literal import literal
from dramaeval.config.schema import split_files
from dramaeval.config.task_parts import parts_of
from dramaeval.data.audio import read_header
from dramaeval.data.records import Record, read_records
from dramaeval.evaluation.predictions import SCORED, Prediction
from dramaeval.evaluation.scoring import AnyPrediction, score
from dramaeval.models.adapters import load_adapter
from dramaeval.models.checkpoint import Checkpoint, base_of, check_whole, find_checkpoint
from dramaeval.models.devices import check_adapter_fits, choose_device
from dramaeval.models.families.base import Family, ModelError
from dramaeval.models.inputs.collation import EncodedRecord
from dramaeval.models.inputs.record_encoder import RecordEncoder, Targets
from dramaeval.stages.base_model import base_quantization
from dramaeval.stages.builders import build_family, build_quantization, build_task
from dramaeval.tasks.question import Question
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task

log = logging.getLogger(__name__)

Clip = str | os.PathLike[str] | np.ndarray | torch.Tensor
#: Tasks that ask for options, or whatever their records say.
NO_SCORES = {"avqa", "mixed", "processed"}


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a judge says of one clip on one dimension.

    Attributes:
        scale: the scores that can be given, rising.
        distribution: the probability of each; they sum to 1. None from a regression head, which has none.
        expected: Σ k·p(k), the expected score; from a regression head the number itself. None where there is no
            score.
        spread: √Σ p(k)·(k − expected)², how far the distribution reaches around it; None without one.
        state: ``scored``, or why there is no score, such as a thought that did not end.
    """

    scale: tuple[float, ...]
    distribution: tuple[float, ...] | None
    expected: float | None
    spread: float | None
    state: str = SCORED


class Judge:
    """An audio language model that scores clips; made by `Judge.load`.

    Attributes:
        model: the judge, an `AnsweringModel` or PEFT's wrapper around one.
        family: its architecture.
        processor: its processor.
        config: the run's configuration, or the default one.
    """

    def __init__(self, model: Any, family: Family, processor: Any, config: DictConfig) -> None:
        self.model = model
        self.family = family
        self.processor = processor
        self.config = config
        self._tasks: dict[tuple[str, ...], Task] = {}

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

        A folder is read as data: its ``config.yaml`` may name this package's families and tasks and
        transformers' `BitsAndBytesConfig`, nothing else; no interpolation in it (``${…}``) is resolved; no
        code that lies beside the weights runs; weights that are not safetensors are read with
        ``weights_only=True``. Objectives, metrics, rewards and label policies of a run are not needed to score
        and are not built.

        Args:
            path: a run folder, a model or adapter folder, a name in ``configs/model/`` such as ``tiny``, or a
                name on the hub. From a run folder (or the model in it) the rubric and the wording of the
                run are taken over; else the defaults hold.
            device: auto, cpu or cuda.
            trust: modules, or full names in them, whose classes a run folder may name beside those above, for
                families and tasks of your own: ``trust=["my_judge"]``. They must be importable.
            trust_remote_code: whether Python code that comes with the model, or with the base that an adapter
                names, may run; as in transformers.
            offload_folder: takes weights that the judge's ``model.device_map`` leaves on disk. The one that a
                run folder names is not used.

        Raises:
            ModelError: there is no judge at ``path``, or a file of it is damaged; or there is no GPU.
            ConfigError: the folder needs ``trust`` or ``trust_remote_code``, or its settings are not valid.
        """
        where = choose_device(device)
        config, start = _find(
            str(path), [trust] if isinstance(trust, str) else trust, trust_remote_code
        )
        if start:
            check_whole(start.folder)
        if trust_remote_code:
            config.model.trust_remote_code = True
        if offload_folder is not None:
            config.model.offload_folder = literal(str(offload_folder))
        family = build_family(config)
        full = _full(start) if start else None
        adapter = start.folder if start and start.adapter else None
        plain = start is not None and adapter is None
        asked = None if plain else build_quantization(config)
        model = family.load(where, full, quantization=base_quantization(asked, adapter))
        if config.batch.shared_prefix and family.supports_shared_prefix():
            family.check_shared_prefix(model)
        if adapter is not None:
            check_adapter_fits(model)
            model = load_adapter(model, adapter, trainable=False).eval()
        return cls(model, family, family.processor(full), config)

    @property
    def shared_prefix(self) -> bool:
        """Whether a clip's questions share a row; see `dramaeval.models.inputs.collation.collate`."""
        return bool(self.config.batch.shared_prefix) and self.family.supports_shared_prefix()

    def task(self, name: str, dimensions: Sequence[str] | None = None) -> Task:
        """The task of that name: the run's own, or the default one of ``configs/task/``.

        Raises:
            ValueError: there is none, or it does not ask for one of the dimensions; says what there is.
        """
        key = (name, *(dimensions or ()))
        if key not in self._tasks:
            own_tasks = parts_of(self.config.task)
            known = sorted({*choices("task"), *own_tasks} - NO_SCORES)
            if name not in known:
                raise ValueError(f"task={name!r} is not known; choose one of {', '.join(known)}.")
            config = self.config.copy() if name in own_tasks else compose(f"task={name}")
            if name in own_tasks:
                config.task = neutral_labels(own_tasks[name])
            if dimensions is not None:
                OmegaConf.update(config, "task.dimensions", literal(list(dimensions)))
            self._tasks[key] = build_task(config)
            if self._tasks[key].shots:
                self._show_examples(self._tasks[key], config)
        return self._tasks[key]

    def _show_examples(self, task: Task, config: DictConfig) -> None:
        """Give a few-shot task the examples that its run had.

        Raises:
            ValueError: the training split is not there any more.
            BadRecordsError: it is not what it was.
        """
        file = split_files(config.task.data).get("train")
        if file is None or not Path(file).is_file():
            raise ValueError(
                f"This judge was run with task.shots={task.shots}: its examples come from {file}, which is not "
                "there."
            )
        data = config.task.data
        found = read_records(
            file,
            replace(task.record_format(), heard=self.family.takes_audio),
            audio_root=data.audio_root,
            on_bad=getattr(data.on_bad, "value", data.on_bad),
            max_seconds=data.max_seconds,
            on_long=getattr(data.on_long, "value", data.on_long),
            workers=data.workers,
        )
        task.show_examples(found.records, config.seed)

    def score(
        self,
        audio: Clip | Sequence[Clip],
        task: str = "role",
        *,
        dimensions: Sequence[str] | None = None,
        sampling_rate: int | None = None,
        clips_a_batch: int = 8,
        **context: str | Sequence[str],
    ) -> Any:
        """Score one clip or several, on every dimension of a task.

        Args:
            audio: a file path or a float array ``[samples]`` (mono, about −1 to 1), or a list of such.
            task: what is asked.
            dimensions: keys to ask for; None asks for all that the task asks for.
            sampling_rate: of arrays, in Hz; None means the model's own.
            clips_a_batch: clips a forward pass; changes memory and speed, not scores.
            context: the texts that go with a clip, for ``role``: ``scene``, ``profile``, ``age``, ``style``,
                ``transcript``; a text for all clips, or a list with one for each. The names of the record's
                fields (``local_scene``) do as well. With ``task.thought_in_scoring=given`` also ``thought``.

        Returns:
            a dictionary dimension key → `Score`; for a list of clips a list of them, in order.

        Raises:
            ValueError: a text is missing or unknown, or an array is no clip.
            UnreadableClipError: a file is no clip.
        """
        several = isinstance(audio, list | tuple)
        clips: list[Any] = list(audio) if isinstance(audio, list | tuple) else [audio]
        if not clips:
            return []
        asked = self.task(task, dimensions)
        if not asked.rated:
            raise ValueError(
                f"task={task!r} asks for an option and not for a score: there is none to give."
            )
        texts = texts_of(asked, context, len(clips))
        record_encoder = _Heard(
            asked,
            self.processor,
            self.family,
            max_seconds=self.config.task.data.max_seconds,
            cache_clips=len(clips) * (1 + asked.shots),
        )
        rate = sampling_rate or record_encoder.rate
        records = [
            self._record(number, clip, fields, record_encoder, rate)
            for number, (clip, fields) in enumerate(zip(clips, texts, strict=True))
        ]
        found = score(
            self.model,
            records,
            record_encoder,
            clips_a_batch=clips_a_batch,
            shared_prefix=self.shared_prefix,
        )
        scores: list[dict[str, Score]] = [{} for _ in clips]
        for prediction in found:
            scores[int(prediction.id)][prediction.dimension] = _score(prediction)
        return scores if several else scores[0]

    def _record(
        self, number: int, clip: Clip, fields: Mapping[str, str], record_encoder: _Heard, rate: int
    ) -> Record:
        """A clip and its texts as a record; an array is laid aside for the encoded_record maker."""
        data = self.config.task.data
        if isinstance(clip, str | os.PathLike):
            path = Path(clip).expanduser()
            seconds = read_header(path).seconds
            check_length(f"{path}", seconds, data)
        else:
            path = Path(f"audio[{number}]")
            waveform = waveform_of(clip, number, rate, record_encoder.rate)
            seconds = len(waveform) / record_encoder.rate
            check_length(f"audio[{number}]", seconds, data)
            most = int(data.max_seconds * record_encoder.rate + 1e-6)
            record_encoder.given[number] = waveform[:most]
        return Record(
            id=str(number),
            file=Path("Judge.score"),
            line=number,
            clip=path,
            seconds=min(seconds, data.max_seconds),
            fields=fields,
            ratings={},
        )


class _Heard(RecordEncoder):
    """A encoded_record maker that takes clips at hand beside files."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.given: dict[int, np.ndarray] = {}
        #: Hz of the arrays; a judge that only reads hears none.
        self.rate: int = self.logmel.sampling_rate if self.family.takes_audio else 16000

    def encode(
        self,
        record: Record,
        asked: Sequence[Dimension | Question],
        targets: Targets | None = None,
    ) -> EncodedRecord:
        """See `RecordEncoder.encoded_record`."""
        waveform = self.given.get(record.line)
        if waveform is None or not self.family.takes_audio:
            return super().encode(record, asked, targets)
        return self.encode_with_clip(record, self.logmel(waveform), asked, targets)


def _find(
    path: str, trust: Sequence[str], remote_code: bool
) -> tuple[DictConfig, Checkpoint | None]:
    """The configuration of a judge and the weights it starts from; None for its family's own."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return compose_model(path), None
    for run in (folder, *folder.absolute().parents[:2]):
        config = read_judge_config(run, trust, remote_code=remote_code)
        if config is None:
            continue
        if run != folder or (run / "model").is_dir():
            return config, find_checkpoint(path)
        # A run that only evaluated has no weights of its own.
        return config, find_checkpoint(config.checkpoint) if config.checkpoint else None
    start = find_checkpoint(path)
    if not start.adapter:
        return compose_model(str(start.folder)), None
    base = base_of(start.folder)
    if base is None:
        raise ModelError(f"{start.folder / 'adapter_config.json'} does not name its base model.")
    log.info("The adapter in %s names its base: %s.", start.folder, base)
    return compose_model(base), start


def _full(start: Checkpoint) -> Path | None:
    """The folder of the full model: the checkpoint itself, or the base that its adapter was trained on."""
    base = Path(base_of(start.folder) or "") if start.adapter else start.folder
    return base if (base / "config.json").is_file() else None


def _score(prediction: AnyPrediction) -> Score:
    if not isinstance(prediction, Prediction):
        raise ValueError(f"audio[{prediction.id}]: an option and not a score")
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
    )
