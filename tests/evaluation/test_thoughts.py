"""Several sampled thoughts about a question: the mean over them, and what it must not depend on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.evaluation import record_reply, scoring
from dramaeval.evaluation.scoring import score
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.forward import generation
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.stages.builders import build_task

TINY = PACKAGE / "models" / "tiny"
DIMENSIONS = "task.dimensions=[pitch_dynamics,rhythmic_dynamics]"
TASK = ("task=role_caption", DIMENSIONS, "task.thought_tokens=24")
SAMPLED = (*TASK, "task.thought_samples=3", "task.thought_temperature=0.7")


@pytest.fixture(scope="module")
def family():
    return Qwen2Audio(path=str(TINY))


@pytest.fixture(scope="module")
def judge(family):
    return family.load(torch.device("cpu"))


@pytest.fixture
def prepared(composed, make_clips, family, monkeypatch):
    """Records and their encoder. The tiny judge rarely writes </think>: a letter ends its thoughts."""
    monkeypatch.setattr(record_reply, "THOUGHT", "e")
    records = {}

    def build(*overrides):
        task = build_task(composed(*overrides))
        if not records:
            file = make_clips("clip", 3, seconds=(1.0, 2.3))
            records.update({record.id: record for record in task.read(file).records})
        return list(records.values()), RecordEncoder(
            task, family.processor(), family, max_seconds=30, cache_clips=8
        )

    return build


def by_key(predictions):
    return {(prediction.id, prediction.dimension): prediction for prediction in predictions}


def test_probe(judge, prepared):
    records, encoder = prepared(*SAMPLED)
    for p in score(judge, records, encoder, keep_thoughts=True):
        print(p.id, p.dimension, p.state, p.expected, p.thoughts, p.thought_texts)
    assert 0
