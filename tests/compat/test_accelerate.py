"""What `dramaeval.compat.accelerate` assumes about accelerate."""

import types

import torch.distributed
from accelerate import PartialState
from contracts import contract

from dramaeval.compat.accelerate import set_process_group


def test_state_of_a_process_group_on_a_cpu(monkeypatch, tmp_path):
    """The attributes are shared by all states, and the properties are computed from them."""
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
