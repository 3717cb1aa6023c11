"""What `dramaeval.compat.peft` assumes about PEFT, on models of one or two layers."""

import pytest
import torch
from contracts import contract
from peft import (
    AdaLoraConfig,
    LoraConfig,
    PeftModelForCausalLM,
    PromptTuningConfig,
    get_peft_model,
)
from safetensors.torch import load_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from dramaeval.compat import peft as entries


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    return LlamaForCausalLM(config)


@pytest.fixture
def lora(model):
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def prompt_tuning():
    return PromptTuningConfig(num_virtual_tokens=2, num_attention_heads=2, num_layers=1, token_dim=8,
                              num_transformer_submodules=1)  # fmt: skip


@pytest.mark.parametrize("kind", [prompt_tuning, lambda: AdaLoraConfig(total_step=9)])
def test_set_task_type_selects_the_class_for_causal_models(model, kind):
    with contract(entries.set_task_type):
        config = kind()
        config.target_modules = ["q_proj"]
        entries.set_task_type(config)
        assert type(get_peft_model(model, config)) is PeftModelForCausalLM
    assert LoraConfig().task_type is None
    lora = LoraConfig()
    entries.set_task_type(lora)
    assert lora.task_type is None


def test_arguments_that_peft_adds_are_removed(lora, monkeypatch):
    model, calls = lora.get_base_model(), []
    forward = model.forward
    # Before PEFT 0.21 the wrapper calls `forward` itself, which calls no hooks.
    monkeypatch.setattr(
        model, "forward", lambda **kwargs: calls.append(kwargs) or forward(**kwargs)
    )
    ids = torch.tensor([[1, 2]])
    with contract(entries.without_defaults):
        lora(input_ids=ids)
        (arguments,) = calls
        assert arguments.keys() > {"input_ids", "labels", "return_dict"}
        assert entries.without_defaults(arguments).keys() == {"input_ids"}


def test_base_name_removes_the_prefix_of_peft(model, lora):
    with contract(entries.base_name):
        names = {entries.base_name(name) for name, _ in lora.named_parameters()}
        assert "model.layers.0.mlp.up_proj.weight" in names
        assert "model.layers.0.self_attn.q_proj.base_layer.weight" in names


def test_virtual_tokens_are_recognised_by_name(model):
    config = prompt_tuning()
    config.task_type = "CAUSAL_LM"
    wrapper = get_peft_model(model, config)
    with contract(entries.is_virtual_token):
        virtual = [name for name, _ in wrapper.named_parameters() if entries.is_virtual_token(name)]
        trained = [name for name, weight in wrapper.named_parameters() if weight.requires_grad]
        assert virtual == trained != []


def test_rank_counters_of_adalora_are_frozen(model):
    config = AdaLoraConfig(total_step=9, target_modules=["q_proj"], task_type="CAUSAL_LM")
    wrapper = get_peft_model(model, config)
    with contract(entries.freeze_rank_counters):
        counters = [weight for name, weight in wrapper.named_parameters() if "ranknum" in name]
        assert counters
        for weight in counters:
            weight.requires_grad_(True)
        entries.freeze_rank_counters(wrapper)
        assert not any(weight.requires_grad for weight in counters)


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


def test_the_state_of_the_rank_allocator_is_saved_and_loaded(tmp_path):
    with contract(entries.save_ranks):
        model, resumed = adalora(0), adalora(0)
        take_steps(model, [1, 2])
        entries.save_ranks(model, tmp_path)
        entries.load_ranks(resumed, tmp_path)
        take_steps(model, [3])
        take_steps(resumed, [3])
        for weight, other in zip(model.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(weight, other)
        patterns = [entries.adalora_settings(each).rank_pattern for each in (model, resumed)]
        assert patterns[0]
        assert patterns[0] == patterns[1]


def test_peft_saves_no_running_importance(tmp_path):
    with contract(entries.save_ranks):
        model = adalora(0)
        take_steps(model, [1, 2])
        model.save_pretrained(tmp_path)
        names = load_file(tmp_path / "adapter_model.safetensors")
        assert not [name for name in names if "ipt" in name]


def test_initial_weights_of_modules_trained_in_full_are_recognised(model):
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["gate_proj"])
    weights = dict(get_peft_model(model, config).named_parameters())
    gates = [name for name in weights if ".gate_proj." in name]
    with contract(entries.is_replaced):
        assert [weights[name].requires_grad for name in gates] == [
            not entries.is_replaced(name) for name in gates
        ]
        assert sum(map(entries.is_replaced, weights)) == 1


@pytest.mark.parametrize("expand", [True, False])
def test_expand_pattern_keeps_the_selected_layers_of_a_mixture_of_experts(expand):
    mixture = Qwen3MoeForCausalLM(
        Qwen3MoeConfig(
            vocab_size=16, hidden_size=8, intermediate_size=8, moe_intermediate_size=8, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=2, num_experts=2, num_experts_per_tok=1, head_dim=4,
        )
    )  # fmt: skip
    config = LoraConfig(r=2, target_modules=r"model\.layers\.0\.self_attn\.q_proj")
    if expand:
        entries.expand_pattern(config, mixture)
    adapted = {
        name.split(".layers.")[1].split(".lora_")[0]
        for name, _ in get_peft_model(mixture, config).named_parameters()
        if ".lora_" in name
    }
    others = set() if expand else {"1.self_attn.q_proj"}
    with contract(entries.expand_pattern):
        assert adapted == {"0.self_attn.q_proj"} | others


def test_expand_pattern_does_not_change_the_pattern_of_a_dense_model(model):
    config = LoraConfig(target_modules=r".*q_proj")
    entries.expand_pattern(config, model)
    assert config.target_modules == r".*q_proj"
