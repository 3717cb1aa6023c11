"""What `dramaeval.compat.peft_adalora` assumes about AdaLoRA in PEFT."""

import types

import torch
from contracts import contract
from peft import AdaLoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import nn

from dramaeval.compat import peft_adalora

ENTRY = types.SimpleNamespace(
    __module__="dramaeval.compat", __name__="peft_adalora", __doc__=peft_adalora.__doc__
)


def adalora(seed):
    torch.manual_seed(seed)
    config = AdaLoraConfig(
        init_r=4, target_r=2, total_step=4, tinit=0, tfinal=1, target_modules=["0", "1"]
    )
    return get_peft_model(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), config)


def take_steps(model, steps):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in steps:
        torch.manual_seed(step)
        model(torch.randn(4, 8)).square().sum().backward()
        optimizer.step()
        model.base_model.update_and_allocate(step)
        optimizer.zero_grad()


def test_the_state_of_the_allocator_is_kept(tmp_path):
    with contract(ENTRY):
        model, resumed = adalora(0), adalora(0)
        take_steps(model, [1, 2])
        peft_adalora.save_ranks(model, tmp_path)
        peft_adalora.load_ranks(resumed, tmp_path)
        take_steps(model, [3])
        take_steps(resumed, [3])
        for weight, other in zip(model.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(weight, other)
        patterns = [peft_adalora.adalora_settings(each).rank_pattern for each in (model, resumed)]
        assert patterns[0]
        assert patterns[0] == patterns[1]


def test_peft_saves_no_running_importance(tmp_path):
    with contract(ENTRY):
        model = adalora(0)
        take_steps(model, [1, 2])
        model.save_pretrained(tmp_path)
        names = load_file(tmp_path / "adapter_model.safetensors")
        assert not [name for name in names if "ipt" in name]
