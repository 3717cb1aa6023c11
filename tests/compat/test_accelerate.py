"""What `dramaeval.compat.accelerate` assumes about accelerate."""

import sys
import types

import accelerate.utils.other
import torch.distributed
from accelerate import PartialState
from contracts import contract

from dramaeval.compat.accelerate import import_deepspeed_only_for_zero, set_process_group


def test_the_process_group_is_set_in_the_state_of_accelerate(monkeypatch, tmp_path):
    """All instances of PartialState share their attributes, from which the properties are computed."""
    monkeypatch.setattr(PartialState, "_shared_state", {})
    state = PartialState(cpu=True)
    assert (state.num_processes, state.use_distributed) == (1, False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 4)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 3)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: "gloo")
    with contract(set_process_group):
        set_process_group(types.SimpleNamespace(distributed_state=state))
        other = PartialState()
        assert (other.num_processes, other.process_index, other.local_process_index) == (4, 3, 1)
        assert other.is_last_process
        assert not other.is_main_process
        assert not other.is_local_main_process


def test_a_model_is_unwrapped_without_an_import_of_deepspeed(monkeypatch):
    """With None in `sys.modules`, importing deepspeed fails."""
    other = accelerate.utils.other
    monkeypatch.setattr(other, "is_deepspeed_available", other.is_deepspeed_available)
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    model = torch.nn.Linear(2, 2)
    with contract(import_deepspeed_only_for_zero):
        import_deepspeed_only_for_zero()
        assert other.extract_model_from_parallel(torch.nn.DataParallel(model)) is model


def test_a_deepspeed_engine_is_unwrapped(monkeypatch):
    class Engine(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    other = accelerate.utils.other
    monkeypatch.setattr(other, "is_deepspeed_available", other.is_deepspeed_available)
    monkeypatch.setitem(sys.modules, "deepspeed", types.SimpleNamespace(DeepSpeedEngine=Engine))
    model = torch.nn.Linear(2, 2)
    with contract(import_deepspeed_only_for_zero):
        import_deepspeed_only_for_zero()
        assert other.extract_model_from_parallel(Engine(model)) is model
