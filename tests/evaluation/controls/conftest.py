"""A control context with the tiny judge."""

import numpy as np
import pytest
import torch

from dramaeval.config.schema import PACKAGE
from dramaeval.data.records import read_records
from dramaeval.evaluation.controls.control_context import ControlContext
from dramaeval.evaluation.scoring import score
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.inputs.audio_encodings import pooled_encoding
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task

TINY = PACKAGE / "models" / "tiny"


@pytest.fixture(scope="session")
def judge():
    return Qwen2Audio(path=str(TINY)).load(torch.device("cpu"))


@pytest.fixture
def build_context(composed, make_clips, judge):
    """A function that builds a context with six held-out clips, twelve training clips and two dimensions."""

    def build(*overrides, train=True, task=None):
        task = task or build_task(
            composed("task.dimensions=[pitch_dynamics,trait_embodiment]", *overrides)
        )
        fmt = task.record_format()
        seconds = (0.5, 1.3, 0.9)
        held_out = read_records(make_clips("test", 6, seconds=seconds), fmt).records
        train_records = read_records(make_clips("train", 12, seed=1), fmt).records
        if task.shots:
            task.show_examples(train_records, 0)
        family = Qwen2Audio(path=str(TINY))
        record_encoder = RecordEncoder(
            task, family.processor(), family, max_seconds=30, cache_clips=32
        )
        return ControlContext(
            task=task,
            records=held_out,
            train=train_records if train else [],
            record_encoder=record_encoder,
            score=lambda records, encoder: score(judge, records, encoder),
            group_by="character",
            seed=0,
            phrasings=3,
            most_clips=100,
            changed_clips=100,
            draws=50,
            level=0.95,
            progress=lambda clips: None,
            pooled_encodings=lambda records: [
                pooled_encoding(judge, record_encoder.features(record_encoder.waveform(record)))
                for record in records
            ],
        )

    return build


def expected(predictions):
    return np.array([prediction.expected for prediction in predictions])
