"""A training loads only weights and DeepSpeed's classes from checkpoints, and no object that runs code."""

import os
from pickle import UnpicklingError

import pytest
import torch
from contracts import contract
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
    """An object whose pickle creates a file when it is read."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (open, (str(self.file), "w"))


@pytest.fixture
def malicious(tmp_path):
    file = tmp_path / "states.pt"
    torch.save({"optimizer": torch.ones(2), "more": Touch(tmp_path / "executed")}, file)
    return file, tmp_path / "executed"


def test_deepspeed_loads_no_other_objects(malicious):
    file, executed = malicious
    with contract(weights_only_loading):
        with pytest.raises(UnpicklingError), weights_only_loading(deepspeed=True):
            TorchCheckpointEngine().load(str(file))
        assert not executed.exists()
        TorchCheckpointEngine().load(str(file))  # without the context, DeepSpeed executes the code
        assert executed.exists()


def test_the_classes_of_deepspeed_are_read(tmp_path):
    file = tmp_path / "states.pt"
    scaler = DynamicLossScaler(8.0, 3, 1.0, 1, False, False, torch.float16)
    states = {
        "zero_stage": ZeroStageEnum.weights,
        "loss_scaler": LossScaler(scale=4.0),
        "dynamic": scaler,
        "param_slice_mappings": [{"w": fragment_address(numel=3, start=1)}],
    }
    torch.save(states, file)
    with contract(weights_only_loading), weights_only_loading(deepspeed=True):
        loaded = TorchCheckpointEngine().load(str(file))
    assert loaded["zero_stage"] is ZeroStageEnum.weights
    assert loaded["loss_scaler"].cur_scale == 4.0
    assert isinstance(loaded["dynamic"], DynamicLossScaler)
    assert vars(loaded["dynamic"]) == vars(scaler)
    assert loaded["param_slice_mappings"] == states["param_slice_mappings"]


def test_environment_variables_are_overridden_and_restored(monkeypatch, malicious):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    before = dict(os.environ)
    with pytest.raises(UnpicklingError), weights_only_loading():
        torch.load(malicious[0])
    assert not malicious[1].exists()
    assert dict(os.environ) == before


class LoadUnrestrictedPickle(TrainerCallback):
    """Reads a pickle without restrictions during a training, as a library could."""

    def __init__(self, file):
        self.file = file

    def on_train_begin(self, args, state, control, **kwargs):
        torch.load(self.file, weights_only=False)


def test_a_training_reads_weights_only(composed, make_clips, tmp_path, malicious, small_judge):
    config = composed(
        small_judge,
        "device=cpu", "logger=none", f"task.data.train={make_clips('train', 4)}", "trainer.args.max_steps=1",
        "task.dimensions=[pitch_dynamics]", "trainer.args.per_device_train_batch_size=2",
    )  # fmt: skip
    trainer = make_trainer(RunContext(config, RunFolder(tmp_path / "run")))
    trainer.add_callback(LoadUnrestrictedPickle(malicious[0]))
    with pytest.raises(ModelError, match="more than weights"):
        trainer.train()
    assert not malicious[1].exists()
