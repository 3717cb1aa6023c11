"""The sections of `python -m benchmarks.gpu` on a GPU at tiny sizes, and a training that improves there: `pytest -m gpu`."""

import shutil

import pytest
import torch

from benchmarks.gpu.__main__ import sections
from benchmarks.gpu.session import TRAINING, Session
from benchmarks.sections import DONE, SKIPPED, run_all

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]

#: The names of all sections; a session that is not used builds them.
NAMES = [section.name for section in sections(None)] if torch.cuda.is_available() else []


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return Session(tmp_path_factory.mktemp("gpu"), torch.device("cuda"), dry=True)


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


def test_a_lora_training_learns_two_records_in_bfloat16(session):
    from dramaeval.stages.train import make_trainer

    words = session.words(
        "peft=lora", "batch.per_device=2", "trainer.args.max_steps=60", "trainer.objective=soft_ce"
    )
    fast = [word for word in TRAINING if "learning_rate" not in word]
    file = session.records.with_name("two.jsonl")
    file.write_text("\n".join(session.records.read_text().splitlines()[:2]) + "\n")
    words = [f"task.data.train={file}" if "data.train=" in word else word for word in words]
    trainer = make_trainer(
        session.context("learns", [*fast, *words, "trainer.args.learning_rate=1e-2"])
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.8 * losses[0]
    shutil.rmtree(session.folder / "runs" / "learns", ignore_errors=True)
