"""dramaeval as a contender: composed, checked and built from overrides, as in a run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from dramaeval import startup
from dramaeval.config import registration
from dramaeval.data.feature_cache import FeatureCache
from dramaeval.data.records import Record, read_records
from dramaeval.models.adapters import attach
from dramaeval.models.devices import choose_device
from dramaeval.models.forward.judge_model import unwrap_judge
from dramaeval.models.inputs.audio_encodings import (
    AudioEncodingCache,
    is_trained,
    tower_name,
)
from dramaeval.models.inputs.record_encoder import RecordEncoder, attach_encoding_cache
from dramaeval.stages.builders import build_family, build_task
from dramaeval.stages.checks import check
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.training_arguments import build_adapter, build_arguments

ROOT = Path(__file__).resolve().parents[1]
#: What every timed training has in common: no validation, no checkpoints, the published recipe's loss.
TIMED = (
    "task.labels=sample",
    "trainer.objective=answer_ce",
    "trainer.args.eval_strategy=no",
    "trainer.args.save_strategy=no",
    "trainer.args.load_best_model_at_end=false",
    "trainer.args.lr_scheduler_type=constant",
    "trainer.args.warmup_steps=0",
    "trainer.args.learning_rate=1e-4",
    "logger=none",
    # Nothing is taken from an earlier run: what is timed is a first epoch.
    "cache.enabled=false",
)


def composed(*overrides: str) -> DictConfig:
    """The configuration that launch.py would compose, checked."""
    registration.register()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("launch", overrides=list(overrides))
    check(config)
    return config


class Product:
    """A judge with its data, ready to train or to score.

    Args:
        model: the folder of its weights.
        file: the records.
        folder: for the output of a trainer.
        overrides: further settings.
    """

    def __init__(self, model: Path, file: Path, folder: Path, *overrides: str) -> None:
        self.config = composed(
            "model=qwen2_audio",
            f"model.path={model}",
            f"task.data.train={file}",
            f"task.data.test={file}",
            "device=cpu",
            *overrides,
        )
        self.folder = folder
        self.task = build_task(self.config)
        self.family = build_family(self.config)
        self.records: Sequence[Record] = read_records(file, self.task.record_format()).records
        self.processor = self.family.processor()

    @cached_property
    def model(self) -> Any:
        """The loaded judge; before it is loaded, the process is set up as that of a run."""
        startup.prepare_device("cpu")
        return self.family.load(choose_device("cpu"), None, torch.float32)

    def record_encoder(self, cache: FeatureCache | None = None) -> RecordEncoder:
        """A record encoder with an empty cache: every clip is decoded again."""
        return RecordEncoder(
            self.task,
            self.processor,
            self.family,
            max_seconds=self.config.task.data.max_seconds,
            cache_clips=self.config.batch.cache_clips,
            cache=cache,
        )

    def listening(self) -> RecordEncoder:
        """A record encoder with the cache of audio encodings that the settings choose, as in a run."""
        settings = self.config.cache
        if not settings.enabled:
            attach_encoding_cache(self.model, record_encoder := self.record_encoder(), None)
            return record_encoder
        cache = FeatureCache(Path(settings.folder), int(settings.max_gb * 1e9))
        record_encoder = self.record_encoder(cache)
        judge, path = unwrap_judge(self.model), self.family.parts["audio"]
        name = None if is_trained(judge, path) else tower_name(judge, path)
        attach_encoding_cache(
            self.model, record_encoder, AudioEncodingCache(cache, name, path) if name else None
        )
        return record_encoder

    def trainer(self, *callbacks: Any) -> Any:
        """A new trainer over the records, with the same weights."""
        self.family.freeze_fixed(self.model)
        args = build_arguments(
            self.config, RunFolder(self.folder), torch.device("cpu"), validates=False
        )
        adapter = build_adapter(self.config, self.family)
        if adapter is not None and not hasattr(self.model, "peft_config"):
            self.model = attach(self.model, adapter)
        settings = {key: value for key, value in self.config.trainer.items() if key != "args"}
        return instantiate(settings, _convert_="all")(
            model=self.model,
            args=args,
            record_encoder=self.listening(),
            train_records=self.records,
            batch=self.config.batch,
            callbacks=list(callbacks),
        )
