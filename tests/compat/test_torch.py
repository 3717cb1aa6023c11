"""What `dramaeval.compat.torch` assumes about PyTorch."""

import pytest
import torch
from contracts import contract

from dramaeval.compat.torch import is_out_of_memory


def test_the_error_of_the_cpu_allocator_is_recognised():
    with contract(is_out_of_memory):
        with pytest.raises(RuntimeError) as raised:
            torch.empty(2**60, dtype=torch.uint8)
        assert not isinstance(raised.value, torch.OutOfMemoryError)
        assert is_out_of_memory(raised.value)
    with pytest.raises(RuntimeError) as raised:
        torch.ones(2) @ torch.ones(3)
    assert not is_out_of_memory(raised.value)
