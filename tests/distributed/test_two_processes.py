"""Two processes train as one does: DDP and ZeRO 1, 2, 3 on CPU with gloo, adapters and full models."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import write_clips, write_pairs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # one start trains all that follows

#: Each kind of ZeRO, adapters and full models, a text-only model, and pairs of clips.
CASES = [
    "none-lora", "zero1-lora", "zero2-none+causal", "zero3-lora", "zero3-none", "none-lora+pair", "zero2-lora+pair",
]  # fmt: skip
#: What one process trains, for comparison.
ALONE = ["none-lora", "none-none", "none-none+causal", "none-lora+pair"]
RESUMED = ["none-lora+resume", "zero3-lora+resume"]
#: By one process, from what two have saved.
RESUMED_BY_ONE = ["zero1-lora+other", "zero3-none+other"]


@pytest.fixture(scope="module")
def textual(tmp_path_factory):
    """A small random language model with the tiny judge's tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from dramaeval.config.schema import PACKAGE

    folder = tmp_path_factory.mktemp("textual")
    tokenizer = AutoTokenizer.from_pretrained(PACKAGE / "models" / "tiny")
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama", vocab_size=len(tokenizer), hidden_size=48, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, bos_token_id=None, tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, textual, run_group):
    """All cases with two processes, then some with one; returns what each said."""
    data, root = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("groups")
    # Five clips in steps of four: the second step of an epoch has one clip, and one process has none.
    files = [write_clips(data, "train", 5), write_clips(data, "val", 5, seed=1)]
    for file in files:
        write_pairs(file)
    found = {}
    # Plain ones first: accelerate does not forget DeepSpeed within a process.
    by_two = sorted([*CASES, *RESUMED], key=lambda case: not case.startswith("none-"))
    for count, cases in ((2, ["score", *by_two]), (1, ["score", *ALONE, *RESUMED_BY_ONE])):
        folder = root / f"by{count}"
        run_group(
            count, folder, Path(__file__).with_name("training.py"), folder, *files, textual, *cases
        )
        found[count] = {
            "folder": folder,
            **{case: json.loads((folder / f"{case}.json").read_text()) for case in cases},
        }
    return found


def alone_of(case):
    """The case of one process that is compared with this one."""
    return "none-" + case.split("-")[1]


def losses(told):
    return [told["losses"][step] for step in sorted(told["losses"], key=int)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_losses_of_one(trained, case):
    together = trained[2][case]
    assert len(losses(together)) == 3
    np.testing.assert_allclose(losses(together), losses(trained[1][alone_of(case)]), rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_the_engine_has_the_configured_settings(trained, case):
    zero = case.split("-")[0]
    told = trained[2][case]
    if zero == "none":
        assert told["engine"] == "DistributedDataParallel"
        assert told["differences"] == [
            "zero needs DeepSpeed, but the model runs as DistributedDataParallel"
        ]
        return
    stage = int(zero[-1])
    assert (told["engine"], told["stage"]) == ("DeepSpeedEngine", stage)
    assert told["differences"] == [
        *([] if stage == 2 else [f"ZeRO stage: configured 2, runs with {stage}"]),
        "processes: configured 3, runs with 2",
        "clips a process: configured 2, runs with 1",
        "accumulated batches: configured 1, runs with 2",
        "clips a step: configured 6, runs with 4",
        "optimizer in host memory: configured True, runs with False",
    ]


def test_evaluation_by_two_processes_has_the_same_results(trained):
    assert trained[2]["score"] == trained[1]["score"]
    assert len(trained[1]["score"]["predictions"]) == 10


@pytest.mark.parametrize("case", CASES)
def test_the_predictions_are_those_of_one_process_and_in_its_order(trained, case):
    alone = trained[1][alone_of(case)]["predictions"]
    together = trained[2][case]["predictions"]
    given, score = ("state", "ratings"), "expected"
    if case.endswith("+pair"):
        given, score = ("votes", "clip_a", "clip_b"), "margin"
    for key in ("id", "dimension", *given):
        assert [one[key] for one in together] == [one[key] for one in alone]
    for one, other in zip(together, alone, strict=True):
        assert one[score] == pytest.approx(other[score], abs=2e-3)


@pytest.mark.parametrize("case", [*RESUMED, *RESUMED_BY_ONE])
def test_a_resumed_training_has_the_same_result(trained, case):
    """By two processes, or by one that takes over what two have begun."""
    whole = trained[2][case.split("+")[0]]
    resumed = trained[1 if case in RESUMED_BY_ONE else 2][case]
    assert resumed["losses"]["3"] == pytest.approx(whole["losses"]["3"], rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_saved_model_loads_without_deepspeed(trained, textual, case):
    """In plain transformers or PEFT, with the weights that one process would have learnt."""
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, Qwen2AudioForConditionalGeneration

    from dramaeval.config.schema import PACKAGE

    saved = trained[2]["folder"] / case / "model"
    alone = trained[1]["folder"] / alone_of(case) / "model"
    causal = case.endswith("+causal")
    plain = AutoModelForCausalLM if causal else Qwen2AudioForConditionalGeneration
    if "-lora" in case:
        from peft import PeftModel

        PeftModel.from_pretrained(
            plain.from_pretrained(textual if causal else PACKAGE / "models" / "tiny"), saved
        )
        name = "adapter_model.safetensors"
    else:
        _, report = plain.from_pretrained(saved, output_loading_info=True)
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        name = "model.safetensors"
    weights, expected = load_file(saved / name), load_file(alone / name)
    assert weights.keys() == expected.keys()
    for key, weight in expected.items():
        assert weights[key].shape == weight.shape
        # Adam divides by the gradient's size: where that is nearly 0, rounding decides the direction.
        assert float((weights[key] - weight).abs().mean()) < 2e-4, key
