"""Scores and losses on a GPU equal those on the CPU, and every section of `python -m benchmarks.gpu` runs at small sizes.

Run by `pytest -m gpu -n 0`; skipped without a GPU.
"""

import pytest
import torch

from benchmarks.gpu.__main__ import sections
from benchmarks.gpu.session import TRAINING, Session
from benchmarks.sections import DONE, SKIPPED, run_all
from dramaeval.evaluation.scoring import score
from dramaeval.stages.train import make_trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

DEVICE = "cuda"
#: The names of all sections.
NAMES = [section.name for section in sections(None)] if torch.cuda.is_available() else []


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return Session(tmp_path_factory.mktemp("gpu"), torch.device(DEVICE), dry=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_section_ends_without_an_error(session, name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (chosen,) = [section for section in sections(session) if section.name == name]
    results = session.folder / f"{name}.json"
    found = run_all([chosen], results, lambda _: None, around=dict)[name]
    if found["state"] == SKIPPED:
        pytest.skip(found["why"])
    assert found["state"] == DONE, found["why"]
    assert found["figures"]


def run_of(session, name, device, *words):
    """The context of a run of the bundled judge on a device."""
    given = ("model=tiny", "model.dtype=float32", f"device={device}", f"task.data.test={session.records}",
             f"task.data.train={session.records}")  # fmt: skip
    return session.context(f"{name}-{device}", [*TRAINING, *given, *words])


def scores(session, device):
    run = run_of(session, "scores", device, "stages=[evaluate]")
    found = score(run.model, run.splits["test"], run.record_encoder, clips_a_batch=4)
    return [item.expected for item in found]


def losses(session, device):
    words = ("batch.per_device=2", "trainer.args.max_steps=3", "trainer.args.learning_rate=1e-3")
    trainer = make_trainer(run_of(session, "losses", device, "peft=lora", *words))
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_scores_in_float32_are_those_of_the_cpu(session):
    # By default cuDNN computes the convolutions of the audio tower with 10-bit mantissas (TF32).
    allowed, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        assert scores(session, DEVICE) == pytest.approx(scores(session, "cpu"), abs=1e-3)
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


def test_losses_of_a_lora_training_are_those_of_the_cpu(session):
    # On a GPU the steps are computed in bfloat16.
    assert losses(session, DEVICE) == pytest.approx(losses(session, "cpu"), rel=0.05)
