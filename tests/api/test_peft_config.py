"""create_peft_config: it builds PEFT's config objects from the published layout and refuses wrong settings."""

import peft
import pytest

from dramaeval import create_peft_config
from dramaeval.config.problems import ConfigError

LORA = {"r": 32, "lora_alpha": 64, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.1}


@pytest.mark.parametrize(
    ("method", "section", "kind"),
    [
        ("lora", LORA, peft.LoraConfig),
        ("qlora", {**LORA, "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, peft.LoraConfig),
        ("adalora", {"init_r": 8, "target_r": 4, "total_step": 100}, peft.AdaLoraConfig),
        ("ia3", {"target_modules": ["k_proj"], "feedforward_modules": []}, peft.IA3Config),
        ("prefix_tuning", {"num_virtual_tokens": 20}, peft.PrefixTuningConfig),
        ("prompt_tuning", {"num_virtual_tokens": 7}, peft.PromptTuningConfig),
    ],
)
def test_each_method_gives_the_config_object_of_peft(method, section, kind, caplog):
    config = {"enabled": True, "method": method, method: section, "lora": {"r": 8, **section}}
    config = config if method == "lora" else {**config, "lora": {"r": 8}}
    found = create_peft_config(config)
    assert type(found) is kind
    for key, value in section.items():
        if key.startswith(("load_in", "bnb")):
            assert key in caplog.text
            continue
        got = getattr(found, key)
        assert (sorted(got) if isinstance(got, set) else got) == value
    assert type(create_peft_config({"training": {}, "peft": config})) is kind


def test_a_disabled_section_gives_none():
    assert create_peft_config({"enabled": False, "method": "lora", "lora": LORA}) is None
    assert create_peft_config({"enabled": False}) is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"enabled": True, "method": "lora", "lora": {"lora_alfa": 1}}, "Did you mean lora_alpha"),
        ({"enabled": True, "method": "lorra"}, "Did you mean lora"),
        ({"enabld": True, "method": "lora"}, "peft.enabld is not known"),
        ({"enabled": True}, "peft.method is missing"),
        ({"enabled": "yes", "method": "lora"}, "peft.enabled='yes' must be true or false"),
        ({"method": "lora", "lora": {"r": "many"}}, "peft.lora.r=many must be a whole number"),
        ({"method": "lora", "lora": 3}, "peft.lora must be a mapping"),
        ({"method": "adalora", "adalora": {}}, "total_step"),
        ({"method": "qlora", "qlora": {"load_in_4bits": True}}, "peft.qlora.load_in_4bits is not"),
    ],
)
def test_wrong_settings_are_refused(config, message):
    with pytest.raises(ConfigError) as raised:
        create_peft_config(config)
    assert message in str(raised.value)


def test_all_problems_are_reported_together():
    with pytest.raises(ConfigError) as raised:
        create_peft_config({"enable": 1, "method": "lora", "lora": {"rank": 1, "alpha": 2}})
    assert len(raised.value.problems) == 3


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "must be a mapping"),
        ({"method": ["lora"]}, "is not known; choose one of"),
        ([], "must be a mapping"),
    ],
)
def test_an_unknown_section_is_reported(config, message):
    with pytest.raises(ConfigError, match=message):
        create_peft_config(config)
