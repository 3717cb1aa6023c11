"""Two processes have the results of one: DDP and ZeRO 1, 2, 3 on the CPU with gloo, adapters and full models."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import write_clips, write_pairs
from small_judge import write_small_judge

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]  # one start runs the trainings of all tests

#: Each kind of ZeRO, adapters and full models, a text-only model, and pairs of clips.
CASES = [
    "none-lora", "zero1-lora", "zero2-none+causal", "zero3-lora", "zero3-none", "none-lora+pair", "zero2-lora+pair",
]  # fmt: skip
#: The cases that one process trains for comparison.
OF_ONE_PROCESS = ["none-lora", "none-none", "none-none+causal", "none-lora+pair"]
RESUMED = ["none-lora+resume", "zero3-lora+resume"]
#: One process resumes from the checkpoints of two.
RESUMED_BY_ONE = ["zero1-lora+other", "zero3-none+other"]


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    """A small random language model with the tiny judge's tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from dramaeval.config.schema import PACKAGE

    folder = tmp_path_factory.mktemp("language_model")
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
def judge(tmp_path_factory):
    return write_small_judge(tmp_path_factory.mktemp("judge"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, judge, language_model, run_group):
    """The results of all cases, by number of processes and case."""
    data, root = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("groups")
    # Five clips in steps of four: the second step of an epoch has one clip, and one process has none.
    files = [write_clips(data, "train", 5), write_clips(data, "val", 5, seed=1)]
    for file in files:
        write_pairs(file)
    found = {}
    # Cases without DeepSpeed come first, since accelerate keeps using DeepSpeed within a process.
    by_two = sorted([*CASES, *RESUMED], key=lambda case: not case.startswith("none-"))
    for count, cases in ((2, ["score", *by_two]), (1, ["score", *OF_ONE_PROCESS, *RESUMED_BY_ONE])):
        folder = root / f"by{count}"
        run_group(
            count,
            folder,
            Path(__file__).with_name("training.py"),
            folder,
            *files,
            judge,
            language_model,
            *cases,
        )
        found[count] = {
            "folder": folder,
            **{case: json.loads((folder / f"{case}.json").read_text()) for case in cases},
        }
    return found


def case_of_one_process(case):
    """The case of one process with which this case is compared."""
    return "none-" + case.split("-")[1]


def losses(result):
    return [result["losses"][step] for step in sorted(result["losses"], key=int)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_losses_of_one(trained, case):
    results_of_two = trained[2][case]
    assert len(losses(results_of_two)) == 3
    np.testing.assert_allclose(
        losses(results_of_two), losses(trained[1][case_of_one_process(case)]), rtol=1e-4
    )


@pytest.mark.parametrize("case", CASES)
def test_the_engine_has_the_configured_settings(trained, case):
    zero = case.split("-")[0]
    result = trained[2][case]
    if zero == "none":
        assert result["engine"] == "DistributedDataParallel"
        assert result["differences"] == [
            "zero needs DeepSpeed, but the model runs as DistributedDataParallel"
        ]
        return
    stage = int(zero[-1])
    assert (result["engine"], result["stage"]) == ("DeepSpeedEngine", stage)
    assert result["differences"] == [
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
def test_predictions_equal_those_of_one_process_in_the_same_order(trained, case):
    results_of_one = trained[1][case_of_one_process(case)]["predictions"]
    results_of_two = trained[2][case]["predictions"]
    given, score = ("state", "ratings"), "expected"
    if case.endswith("+pair"):
        given, score = ("votes", "clip_a", "clip_b"), "margin"
    for key in ("id", "dimension", *given):
        assert [one[key] for one in results_of_two] == [one[key] for one in results_of_one]
    for one, other in zip(results_of_two, results_of_one, strict=True):
        assert one[score] == pytest.approx(other[score], abs=2e-3)


@pytest.mark.parametrize("case", [*RESUMED, *RESUMED_BY_ONE])
def test_a_resumed_training_has_the_same_result(trained, case):
    """Two processes resume, or one process resumes what two have begun."""
    whole = trained[2][case.split("+")[0]]
    resumed = trained[1 if case in RESUMED_BY_ONE else 2][case]
    assert resumed["losses"]["3"] == pytest.approx(whole["losses"]["3"], rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_saved_model_loads_without_deepspeed(trained, judge, language_model, case):
    """Plain transformers or PEFT load it, and its weights equal those trained by one process."""
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, Qwen2AudioForConditionalGeneration

    saved = trained[2]["folder"] / case / "model"
    results_of_one = trained[1]["folder"] / case_of_one_process(case) / "model"
    causal = case.endswith("+causal")
    plain = AutoModelForCausalLM if causal else Qwen2AudioForConditionalGeneration
    if "-lora" in case:
        from peft import PeftModel

        PeftModel.from_pretrained(plain.from_pretrained(language_model if causal else judge), saved)
        name = "adapter_model.safetensors"
    else:
        _, report = plain.from_pretrained(saved, output_loading_info=True)
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        name = "model.safetensors"
    weights, expected = load_file(saved / name), load_file(results_of_one / name)
    assert weights.keys() == expected.keys()
    for key, weight in expected.items():
        assert weights[key].shape == weight.shape
        # Adam divides by the size of the gradient; if that is nearly 0, rounding decides the sign of the step.
        assert float((weights[key] - weight).abs().mean()) < 2e-4, key
