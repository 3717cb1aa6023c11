"""What `dramaeval.compat.deepspeed_weights` assumes about DeepSpeed."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from contracts import contract

from dramaeval.compat.deepspeed_weights import is_partitioned


def test_partitioned_parameters_have_an_id():
    spec = find_spec("deepspeed")
    if spec is None:
        pytest.skip("pip install 'dramaeval[deepspeed]'")
    # Partitioning needs a process group and seconds of imports; the name is in the source.
    source = Path(spec.origin).parent / "runtime" / "zero" / "partition_parameters.py"
    with contract(is_partitioned):
        assert "param.ds_id = " in source.read_text(encoding="utf-8")
    model = torch.nn.Linear(2, 2)
    assert not is_partitioned(model)
    model.weight.ds_id = 0
    assert is_partitioned(model)
