"""``peft``, ``quantization`` and ``zero``: checks of declared arguments, compared with the libraries' own arguments."""

import dataclasses
import inspect
import sys
from enum import Enum
from types import ModuleType

import pytest
from omegaconf import OmegaConf

from dramaeval.config import fields
from dramaeval.config.keys import check_arguments
from dramaeval.config.library_schema import (
    OffloadOptimizerConfig,
    OffloadParamConfig,
    PeftConfig,
    QuantizationConfig,
    ZeroOptimizationConfig,
)
from dramaeval.config.schema import Root
from dramaeval.config.source_arguments import arguments_in_source
from dramaeval.config.unknown_keys import problems_of_arguments
from dramaeval.distributed.zero_settings import unknown_settings

LORA, BITS = "peft.LoraConfig", "transformers.BitsAndBytesConfig"
ZERO = "deepspeed.runtime.zero"
CLASSES = {
    PeftConfig: (LORA, "peft.AdaLoraConfig", "peft.PrefixTuningConfig", "peft.PromptTuningConfig"),
    QuantizationConfig: (BITS,),
    ZeroOptimizationConfig: (f"{ZERO}.config.DeepSpeedZeroConfig",),
    OffloadOptimizerConfig: (f"{ZERO}.offload_config.DeepSpeedZeroOffloadOptimizerConfig",),
    OffloadParamConfig: (f"{ZERO}.offload_config.DeepSpeedZeroOffloadParamConfig",),
}


@pytest.mark.parametrize(
    ("node", "problems"),
    [
        ({"peft": {"r": "abc", "use_dora": 1, "tinit": 0.5}},
         ["peft.r='abc' must be a whole number of 1 or more or null.", "peft.use_dora=1 must be true or false.",
          "peft.tinit=0.5 must be a whole number of 0 or more or null."]),
        ({"peft": {"r": 0, "lora_dropout": 1.0, "bias": "lora"}},
         ["peft.r=0 must be 1 or more.", "peft.lora_dropout=1.0 must be 0 or more and below 1.",
          "peft.bias=lora is not known; choose one of none, all, lora_only. Did you mean lora_only?"]),
        ({"quantization": {"load_in_4bit": "yes", "llm_int8_threshold": None}},
         ["quantization.load_in_4bit='yes' must be true or false.",
          "quantization.llm_int8_threshold=None must be a number of 0 or more."]),
        ({"quantization": {"bnb_4bit_quant_type": "nf5", "llm_int8_threshold": -1.0}},
         ["quantization.bnb_4bit_quant_type=nf5 is not known; choose one of nf4, fp4. Did you mean nf4?",
          "quantization.llm_int8_threshold=-1.0 must be 0 or more."]),
        ({"zero": {"zero_optimization": {"overlap_comm": "yes", "offload_param": "cpu"}, "prescale_gradients": 2}},
         ["zero.zero_optimization.overlap_comm='yes' must be true or false or null.",
          "zero.zero_optimization.offload_param='cpu' must be a mapping or null.",
          "zero.prescale_gradients=2 must be true or false."]),
        ({"zero": {"zero_optimization": {"stage": 4, "reduce_bucket_size": 0, "offload_optimizer": {"ratio": 1.5}}}},
         ["zero.zero_optimization.stage=4 is not known; choose one of 1, 2, 3.",
          "zero.zero_optimization.reduce_bucket_size=0 must be above 0.",
          "zero.zero_optimization.offload_optimizer.ratio=1.5 must be 0 or more and at most 1."]),
    ],
)  # fmt: skip
def test_wrong_types_and_values_are_reported_together(node, problems):
    assert sorted(fields.problems(Root, node)) == sorted(problems)


def test_an_unknown_key_is_reported_with_a_near_match_or_the_valid_keys():
    config = OmegaConf.create(
        {
            "peft": {"_target_": LORA, "lora_alfa": 1, "qqq": 1, "deltaT": 2},
            "quantization": {"_target_": BITS, "load_in_4bits": True},
        }
    )
    near_match, without_match, adalora, bits = problems_of_arguments(config)
    assert (
        "Did you mean" not in adalora
    )  # the only similar keys are itself and one with another meaning
    assert "peft.LoraConfig. Did you mean peft.lora_alpha" in near_match
    assert "There are " in without_match
    assert "lora_dropout" in without_match
    assert "Did you mean quantization.load_in_4bit" in bits
    stage, without_match_in_zero = unknown_settings(
        OmegaConf.create({"zero_optimization": {"stge": 1, "qqq": 1}})
    )
    assert stage.endswith("Did you mean stage?")
    assert "There are " in without_match_in_zero
    assert "reduce_bucket_size" in without_match_in_zero


@pytest.mark.parametrize("schema", CLASSES)
def test_every_declared_argument_exists(schema):
    known = {name for target in CLASSES[schema] for name in arguments_in_source(target)}
    assert set(fields.settings_of(schema)) <= known


def test_further_arguments_and_other_notations_are_accepted():
    node = {
        "peft": {"_target_": LORA, "layers_to_transform": [0], "total_step": None},
        "zero": {"zero_optimization": {"stage": 2, "reduce_bucket_size": 2e8, "zero_hpz_partition_size": 2}},
    }  # fmt: skip
    assert fields.problems(Root, node) == []
    assert fields.problems(Root, {"peft": None, "quantization": None, "zero": None}) == []


@pytest.mark.slow
def test_the_default_of_every_argument_equals_that_of_the_library():
    from deepspeed.runtime.zero import config, offload_config
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    from transformers import BitsAndBytesConfig

    methods = [
        {each.name: each.default for each in dataclasses.fields(method)}
        for method in PEFT_TYPE_TO_CONFIG_MAPPING.values()
    ]
    parameters = inspect.signature(BitsAndBytesConfig).parameters.values()
    bits = {each.name: each.default for each in parameters if each.kind is not each.VAR_KEYWORD}
    zero = [
        model().model_dump(mode="json", by_alias=True)
        for model in (
            config.DeepSpeedZeroConfig,
            offload_config.DeepSpeedZeroOffloadOptimizerConfig,
            offload_config.DeepSpeedZeroOffloadParamConfig,
        )
    ]
    zero[0]["overlap_comm"] = None  # resolved by the stage
    nodes = (ZeroOptimizationConfig, OffloadOptimizerConfig, OffloadParamConfig)
    cases = [*((PeftConfig, each) for each in methods), (QuantizationConfig, bits),
             *zip(nodes, zero, strict=True)]  # fmt: skip
    for schema, defaults in cases:
        given = {
            name: value.value if isinstance(value, Enum) else value
            for name, value in defaults.items()
            if name != "stage"
            and value is not dataclasses.MISSING
            and not (name == "r" and value == 0)  # of OFT: given by the size of a block
        }
        assert fields.problems(schema, given) == []
    for schema in (PeftConfig, QuantizationConfig, *nodes):
        for name, declared in fields.settings_of(schema).items():
            known = [
                defaults[name] for kind, defaults in cases if kind is schema and name in defaults
            ]
            assert name == "stage" or declared.default in known, name


@pytest.mark.parametrize(
    ("hint", "problems"), [(int, ["peft.lora_alpha=0.5 must be a whole number."]), (float, [])]
)
def test_the_type_of_an_argument_is_that_of_the_chosen_class(monkeypatch, hint, problems):
    module = ModuleType("own_method")
    module.Own = dataclasses.make_dataclass("Own", [("lora_alpha", hint, 1), ("r", int, 8)])
    monkeypatch.setitem(sys.modules, module.__name__, module)
    given = {"_target_": "own_method.Own", "lora_alpha": 0.5, "r": 0}
    reported = fields.invalid_keys(PeftConfig, given)
    assert reported == {"r"}
    assert check_arguments(given, "peft", reported=reported) == problems
