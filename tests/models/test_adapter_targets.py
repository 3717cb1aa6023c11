"""Names in PEFT's settings must match layers of the model, and only the parts in ``adapt`` are trained."""

import copy
import re
from typing import get_args, get_type_hints

import pytest
import torch
from peft import LoraConfig
from torch import nn

from dramaeval.config.schema import PACKAGE
from dramaeval.models.adapter_settings import (
    INITIALISATIONS,
    REFUSED_INITIALISATIONS,
    lora_problems,
)
from dramaeval.models.adapter_targets import name_problems, reach_problems
from dramaeval.models.adapters import attach, load_adapter, restrict
from dramaeval.models.families.qwen2_audio import Qwen2Audio


@pytest.fixture(scope="module")
def family():
    return Qwen2Audio(path=str(PACKAGE / "models" / "tiny"))


@pytest.fixture(scope="module")
def skeleton(family):
    return family.skeleton()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_modules": ["q_proj", "v_prj"]}, "target_modules: v_prj matches no layer of llm. Did you mean v_proj"),
        ({"target_modules": ["q_proj", "fc1"]}, "fc1 matches layers of audio only, which adapt=llm leaves out: set "
         "adapt=[llm,audio]"),
        ({"target_modules": r".*\.fc1"}, "matches layers of audio only"),
        ({"target_modules": r".*\.fc3"}, "matches no layer of llm"),
        ({"exclude_modules": ["up_prj"]}, "exclude_modules: up_prj matches no layer"),
        ({"feedforward_modules": ["down_prj"]}, "feedforward_modules: down_prj matches no layer"),
        ({"rank_pattern": {"q_proj": 2, "k_prj": 4}}, "rank_pattern: k_prj matches no layer"),
        ({"alpha_pattern": {r"layers\.9\..*": 4}}, r"alpha_pattern: layers\.9\..* matches no layer"),
        ({"target_modules": "*.q_proj"}, "target_modules: *.q_proj is not a regular expression (nothing to repeat"),
        ({"exclude_modules": "layers.(0"}, "exclude_modules: layers.(0 is not a regular expression (missing )"),
        ({"feedforward_modules": "[up"}, "feedforward_modules: [up is not a regular expression"),
        ({"rank_pattern": {"*.q_proj": 4}}, "rank_pattern: *.q_proj is not a regular expression"),
        ({"alpha_pattern": {"q_proj)": 4}}, "alpha_pattern: q_proj) is not a regular expression"),
        ({"modules_to_save": ["norm", "nrm"]}, "modules_to_save: nrm matches no module of the model. Did you mean norm"),
        ({"layers_to_transform": [0, 9]}, "there is no layer 9; the adapted parts have layers 0 to 3"),
        ({"layers_to_transform": 4}, "there is no layer 4"),
        ({"layers_to_transform": [0], "layers_pattern": ["blocks"]}, "layers_pattern=['blocks'] matches no list"),
    ],
)  # fmt: skip
def test_a_name_that_matches_no_layer_is_reported(family, skeleton, settings, message):
    (problem,) = name_problems(settings, skeleton, family, "llm")
    assert message in problem


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": None, "modules_to_save": None},
        {"target_modules": "all-linear", "layers_to_transform": 3},
        {"target_modules": ["self_attn.q_proj"], "exclude_modules": r".*\.0\..*"},
        {"target_modules": ["v_proj"], "rank_pattern": {r".*\.v_proj": 2}, "modules_to_save": ["lm_head"]},
        {"layers_to_transform": [0, 3], "layers_pattern": "layers"},
    ],
)  # fmt: skip
def test_names_that_match_are_accepted(family, skeleton, settings):
    assert name_problems(settings, skeleton, family, "llm") == []


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"bias": "all"}, "set peft.bias=lora_only"),
        ({"modules_to_save": ["layer_norm"]}, "give the full names"),
    ],
)
def test_trained_weights_outside_adapt_are_refused(family, settings, advice):
    config = restrict(LoraConfig(r=2, target_modules=["q_proj"], **settings), family, "llm")
    model = attach(family.skeleton(), config)
    problem = reach_problems(model, family, "llm", settings)[0]
    assert "parameters of the audio (model.audio_tower." in problem
    assert advice in problem
    assert "parameters of the llm" in reach_problems(model, family, ["audio"], settings)[0]


def test_all_linear_is_every_linear_layer_of_the_adapted_parts(family, skeleton):
    linear = {name for name, module in skeleton.named_modules() if isinstance(module, nn.Linear)}
    for part, root in family.parts.items():
        pattern = restrict(LoraConfig(target_modules="all-linear"), family, part).target_modules
        matched = {name for name, _ in skeleton.named_modules() if re.fullmatch(pattern, name)}
        assert matched == {name for name in linear if name.startswith(f"{root}.")}


def effective_weights(wrapped):
    return {name: weight.clone() for name, weight in wrapped.merge_and_unload().named_parameters()}


def sorted_initialisations():
    hint = get_type_hints(LoraConfig)["init_lora_weights"]
    literal = [value for kind in get_args(hint) for value in get_args(kind)]
    return {value.partition("_niter_")[0] for value in literal}


def test_every_initialisation_of_peft_is_accepted_or_refused():
    tables = {*INITIALISATIONS, *REFUSED_INITIALISATIONS}
    assert sorted_initialisations() | {"true", "false", "lora_ga"} == tables
    for value in (*REFUSED_INITIALISATIONS, "pissa_niter_4", "brand_new"):
        (problem,) = lora_problems({"init_lora_weights": value}, quantised=False, adalora=False)
        assert f"peft.init_lora_weights={value}" in problem
    for value in (True, False, *INITIALISATIONS[2:]):
        given = {"init_lora_weights": value, "loftq_config": {}}
        assert not lora_problems(given, quantised=False, adalora=False)
        assert bool(lora_problems(given, quantised=True, adalora=False)) == (value == "mica")
        assert bool(lora_problems(given, quantised=False, adalora=True)) == isinstance(value, str)


@pytest.mark.parametrize("value", [True, False, *INITIALISATIONS[2:]])
def test_an_accepted_initialisation_reloads_exactly(family, tmp_path, value):
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=value)
    restrict(config, family, "llm")
    planned = attach(family.skeleton(), copy.deepcopy(config))
    trained = attach(family.load(torch.device("cpu")), config)
    assert planned.get_nb_trainable_parameters() == trained.get_nb_trainable_parameters()
    with torch.no_grad():
        for weight in trained.parameters():
            if weight.requires_grad:
                weight += 0.1 * torch.randn_like(weight)
    trained.save_pretrained(tmp_path)
    base = family.load(torch.device("cpu"))
    start = {name: weight.clone() for name, weight in base.named_parameters()}
    reloaded = effective_weights(load_adapter(base, tmp_path, trainable=False))
    for name, weight in effective_weights(trained).items():
        assert torch.equal(weight, reloaded[name]), name
        adapted = "language_model" in name and name.endswith("q_proj.weight")
        assert torch.equal(weight, start[name]) != adapted, name
