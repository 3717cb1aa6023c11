"""GRPO with two processes and ZeRO on the CPU has the same metrics as with one process."""

import json
from pathlib import Path

import numpy as np
import pytest
from clips import write_clips, write_pairs
from safetensors.torch import load_file
from trained_adapter import teach

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]  # one start runs the trainings of all tests

#: Cases without DeepSpeed come first, since accelerate keeps using DeepSpeed within a process.
CASES = [
    "none-lora-sampled",
    "none-lora-enumerated+pair",
    "zero2-lora-enumerated+pair",
    "zero2-none-enumerated",
    "zero3-lora-sampled",
    "zero3-none-sampled",
    "zero3-lora-sampled+fresh",
]
OF_ONE_PROCESS = {
    "none-lora-sampled": "none-lora-sampled",
    "none-lora-enumerated+pair": "none-lora-enumerated+pair",
    "zero2-lora-enumerated+pair": "none-lora-enumerated+pair",
    "zero2-none-enumerated": "none-none-enumerated",
    # With ZeRO-3 the weights of the reference are split too.
    "zero3-lora-sampled": "none-lora-sampled",
    "zero3-none-sampled": "none-none-sampled",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, run_group):
    """The metrics of all cases, by number of processes and case."""
    data, root = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("groups")
    files = [write_clips(data, "train", 9), write_clips(data, "val", 5, seed=1)]
    for file in files:
        write_pairs(file)
    adapter = teach(root / "taught", [f"task.data.train={files[0]}", f"task.data.val={files[1]}"])
    found = {}
    for count, cases in ((2, CASES), (1, list(dict.fromkeys(OF_ONE_PROCESS.values())))):
        folder = root / f"by{count}"
        run_group(
            count,
            folder,
            Path(__file__).with_name("grpo_training.py"),
            folder,
            *files,
            adapter,
            *cases,
        )
        found[count] = {case: json.loads((folder / f"{case}.json").read_text()) for case in cases}
        found[count]["folder"] = folder
    return found


@pytest.mark.parametrize("case", OF_ONE_PROCESS)
def test_two_processes_have_the_metrics_of_one(trained, case):
    metrics_of_two, metrics_of_one = trained[2][case], trained[1][OF_ONE_PROCESS[case]]
    assert len(metrics_of_two) == 2
    for by_two, by_one in zip(metrics_of_two, metrics_of_one, strict=True):
        for name, value in by_one.items():
            # TRL's KL is a mean of the means of passes, which differ where completions differ in length.
            if name == "kl" and "-none-sampled" in case:
                continue
            np.testing.assert_allclose(by_two[name], value, rtol=2e-3, atol=1e-4, err_msg=name)
    assert any(step["grad_norm"] > 1e-3 for step in metrics_of_two)


def test_a_reference_split_over_processes_has_the_same_kl(trained):
    whole, split = trained[1]["none-none-sampled"], trained[2]["zero3-none-sampled"]
    assert abs(split[0]["kl"]) < 1e-6 < split[-1]["kl"]
    # TRL's KL is a mean of the means of passes, which differ where completions differ in length.
    np.testing.assert_allclose(
        [s["kl"] for s in split], [s["kl"] for s in whole], rtol=2e-2, atol=1e-7
    )


def test_with_zero3_the_kl_starts_at_zero_and_the_adapter_is_saved_whole(trained):
    metrics = trained[2]["zero3-lora-sampled+fresh"]
    assert abs(metrics[0]["kl"]) < 1e-6
    assert max(step["kl"] for step in metrics[1:]) > 1e-6
    saved = load_file(
        trained[2]["folder"] / "zero3-lora-sampled+fresh" / "model" / "adapter_model.safetensors"
    )
    assert all(weight.numel() for weight in saved.values())
    assert any(bool(weight.any()) for name, weight in saved.items() if "lora_B" in name)
