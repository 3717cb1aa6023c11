"""Two processes train as one does: DDP and ZeRO 1, 2, 3 on CPU with gloo, adapters and full models."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import write_clips
from places import ROOT

from dramaeval.cluster.workers import environment

CASES = [
    f"{zero}-{peft}" for zero in ("none", "zero1", "zero2", "zero3") for peft in ("lora", "none")
]
RESUMED = ["none-lora", "zero2-lora", "zero3-lora"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """All cases with two processes, and with one; returns what each said."""
    data = tmp_path_factory.mktemp("data")
    # Nine clips in steps of four: the third step of an epoch has one, and a process stands in.
    files = [write_clips(data, "train", 9), write_clips(data, "val", 5, seed=1)]
    found = {}
    # Plain ones first: accelerate does not forget DeepSpeed within a process.
    plain = [one for one in [*CASES, *(f"{one}+resume" for one in RESUMED)] if "none-" in one]
    zero = [one for one in [*CASES, *(f"{one}+resume" for one in RESUMED)] if "none-" not in one]
    for count, cases in ((2, [*plain, *zero]), (1, CASES[:2])):
        folder = tmp_path_factory.mktemp(f"by{count}")
        words = [sys.executable, Path(__file__).with_name("training.py"), folder, *files, *cases]
        shared = {**environment(count), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        running = []
        for rank in range(count):
            with (folder / f"{rank}.log").open("w") as said:
                own = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                running.append(
                    subprocess.Popen(list(map(str, words)), env=own, stdout=said, stderr=said)
                )
        codes = [process.wait(timeout=500) for process in running]
        assert codes == [0] * count, (folder / "0.log").read_text()[-3000:]
        found[count] = {
            "folder": folder,
            **{case: json.loads((folder / f"{case}.json").read_text()) for case in cases},
        }
    return found


def losses(told):
    return [told["losses"][step] for step in sorted(told["losses"], key=int)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_lose_as_one_does(trained, case):
    alone = trained[1][f"none-{case.split('-')[1]}"]
    together = trained[2][case]
    assert len(losses(together)) == 5
    np.testing.assert_allclose(losses(together), losses(alone), rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_what_was_asked_for_is_what_ran(trained, case):
    zero = case.split("-")[0]
    told = trained[2][case]
    if zero == "none":
        assert told["engine"] == "DistributedDataParallel"
    else:
        assert (told["engine"], told["stage"]) == ("DeepSpeedEngine", int(zero[-1]))


@pytest.mark.parametrize("case", CASES)
def test_the_predictions_are_those_of_one_process_and_in_its_order(trained, case):
    alone = trained[1][f"none-{case.split('-')[1]}"]["predictions"]
    together = trained[2][case]["predictions"]
    for key in ("id", "dimension", "state", "ratings"):
        assert [one[key] for one in together] == [one[key] for one in alone]
    for one, other in zip(together, alone, strict=True):
        assert one["expected"] == pytest.approx(other["expected"], abs=2e-3)


@pytest.mark.parametrize("case", RESUMED)
def test_a_resumed_training_goes_on_as_if_never_stopped(trained, case):
    whole, resumed = trained[2][case], trained[2][f"{case}+resume"]
    for step in ("4", "5"):
        assert resumed["losses"][step] == pytest.approx(whole["losses"][step], rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_saved_model_loads_without_deepspeed(trained, case):
    """In plain transformers or PEFT, with the weights that one process would have learnt."""
    from safetensors.torch import load_file
    from transformers import Qwen2AudioForConditionalGeneration

    from dramaeval.config.schema import PACKAGE

    saved = trained[2]["folder"] / case / "model"
    alone = trained[1]["folder"] / f"none-{case.split('-')[1]}" / "model"
    if case.endswith("lora"):
        from peft import PeftModel

        base = Qwen2AudioForConditionalGeneration.from_pretrained(PACKAGE / "models" / "tiny")
        PeftModel.from_pretrained(base, saved)
        name = "adapter_model.safetensors"
    else:
        _, report = Qwen2AudioForConditionalGeneration.from_pretrained(
            saved, output_loading_info=True
        )
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        name = "model.safetensors"
    weights, expected = load_file(saved / name), load_file(alone / name)
    assert weights.keys() == expected.keys()
    for key, weight in expected.items():
        assert weights[key].shape == weight.shape
        # Adam divides by the gradient's size: where that is nearly 0, rounding decides the direction.
        assert float((weights[key] - weight).abs().mean()) < 2e-4, key
