"""A training reads checkpoints as weights: DeepSpeed's own classes, and nothing that would run code."""

import os

import pytest
import torch
from deepspeed.runtime.checkpoint_engine.torch_checkpoint_engine import TorchCheckpointEngine
from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address
from transformers import TrainerCallback

from dramaeval.compat.deepspeed import weights_only_loading
from dramaeval.models.errors import ModelError
from dramaeval.stages.context import RunContext
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer


class Touch:
    """What a pickle holds that runs a command."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


@pytest.fixture
def poisoned(tmp_path):
    file = tmp_path / "states.pt"
    torch.save({"optimizer": torch.ones(2), "more": Touch(tmp_path / "hurt")}, file)
    return file, tmp_path / "hurt"


def test_deepspeed_unpickles_nothing_else(poisoned):
    file, hurt = poisoned
    with pytest.raises(ModelError, match="more than weights"), weights_only_loading(deepspeed=True):
        TorchCheckpointEngine().load(str(file))
    assert not hurt.exists()
    TorchCheckpointEngine().load(str(file))  # as DeepSpeed does by itself
    assert hurt.exists()


def test_what_deepspeed_saves_is_read_back(tmp_path):
    file = tmp_path / "states.pt"
    scaler = DynamicLossScaler(8.0, 3, 1.0, 1, False, False, torch.float16)
    states = {
        "zero_stage": ZeroStageEnum.weights,
        "loss_scaler": LossScaler(scale=4.0),
        "dynamic": scaler,
        "param_slice_mappings": [{"w": fragment_address(numel=3, start=1)}],
    }
    torch.save(states, file)
    with weights_only_loading(deepspeed=True):
        found = TorchCheckpointEngine().load(str(file))
    assert found["zero_stage"] is ZeroStageEnum.weights
    assert found["loss_scaler"].cur_scale == 4.0
    assert isinstance(found["dynamic"], DynamicLossScaler)
    assert vars(found["dynamic"]) == vars(scaler)
    assert found["param_slice_mappings"] == states["param_slice_mappings"]


def test_the_shells_variables_do_not_weaken_it_and_are_as_before(monkeypatch, poisoned):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    before = dict(os.environ)
    with pytest.raises(ModelError), weights_only_loading():
        torch.load(poisoned[0])
    assert not poisoned[1].exists()
    assert dict(os.environ) == before


class Loads(TrainerCallback):
    """Any library that reads a pickle without a care while a training goes on."""

    def __init__(self, file):
        self.file = file

    def on_train_begin(self, args, state, control, **kwargs):
        torch.load(self.file, weights_only=False)


def test_a_training_reads_in_this_way(composed, make_clips, tmp_path, poisoned):
    config = composed(
        "device=cpu", "logger=none", f"task.data.train={make_clips('train', 4)}", "trainer.args.max_steps=1",
        "task.dimensions=[pitch_dynamics]", "trainer.args.per_device_train_batch_size=2",
    )  # fmt: skip
    trainer = make_trainer(RunContext(config, RunFolder(tmp_path / "run")))
    trainer.add_callback(Loads(poisoned[0]))
    with pytest.raises(ModelError, match="more than weights"):
        trainer.train()
    assert not poisoned[1].exists()
