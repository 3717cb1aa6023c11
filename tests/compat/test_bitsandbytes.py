"""What `dramaeval.compat.bitsandbytes` assumes about bitsandbytes and transformers' use of it."""

import os
import subprocess
import sys

import pytest
import torch
from contracts import contract
from repository import ROOT
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from dramaeval.compat import bitsandbytes as entries

pytest.importorskip("bitsandbytes", reason="pip install 'dramaeval[quantization]'")


@pytest.mark.slow
def test_runs_import_bitsandbytes_without_the_compiler(tmp_path, make_clips):
    files = {"train": make_clips("train", 4), "val": make_clips("val", 2, seed=1)}
    data = [f"task.data.{split}={file}" for split, file in files.items()]
    code = (
        "import os, runpy, sys, traceback\n"
        f"sys.argv = ['launch.py', 'plan=true', 'stages=[train]', *{data!r}, 'peft=lora',\n"
        f"            'hydra.run.dir={tmp_path}/run']\n"
        "try:\n"
        "    runpy.run_path('launch.py', run_name='__main__')\n"
        "except BaseException:\n"
        "    traceback.print_exc()\n"
        "names = ('bitsandbytes', 'torch._inductor.compile_fx')\n"
        "loaded = [name in sys.modules for name in names]\n"
        "print('LOADED', *loaded, 'TORCHDYNAMO_DISABLE' in os.environ, flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        # tests/conftest.py sets this variable for the other tests.
        env={key: value for key, value in os.environ.items() if key != "TORCHDYNAMO_DISABLE"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    with contract(entries.import_without_compiler):
        found = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
        assert found == ["LOADED True False False"], done.stderr


@pytest.mark.parametrize(
    ("override", "may"),
    [
        ("peft=lora", False), ("trainer.args.optim=adafactor", False), ("peft=qlora", True),
        ("checkpoint=judge", True), ("trainer.args.optim=adamw_8bit", True),
    ],
)  # fmt: skip
def test_runs_that_may_compute_with_bitsandbytes_have_its_compiled_functions(
    composed, override, may
):
    assert entries.may_compute(composed(override)) is may


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a language model with two layers of width 64."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16, hidden_size=64, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(config).save_pretrained(path)
    return path


@pytest.fixture
def quantised(folder):
    """The model in `folder` with 4-bit weights, except for its first layer and its head."""
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    entries.leave_out(config, ["lm_head", "model.layers.0"])
    return AutoModelForCausalLM.from_pretrained(folder, quantization_config=config)


def test_layers_that_are_left_out_are_not_quantised(quantised):
    with contract(entries.leave_out):
        names = [name for name, module in quantised.named_modules() if entries.is_quantised(module)]
        assert len(names) == 7
        assert all(name.startswith("model.layers.1.") for name in names)


def test_quantised_layers_are_recognised(quantised):
    with contract(entries.is_quantised):
        assert entries.is_quantised(quantised.model.layers[1].mlp.up_proj)
        assert not entries.is_quantised(quantised.model.layers[0].mlp.up_proj)


def test_keep_packing_turns_the_cpu_kernel_off(quantised):
    layer = quantised.model.layers[1].mlp.up_proj
    with contract(entries.keep_packing):
        assert hasattr(layer, "support_avx512bf16_for_cpu")
        entries.keep_packing(quantised)
        assert layer.support_avx512bf16_for_cpu is False


def test_packed_weights_are_counted(quantised):
    with contract(entries.weight_count):
        packed = quantised.model.layers[1].mlp.up_proj.weight
        assert packed.numel() == 64 * 64 / 2
        assert entries.weight_count(packed) == 64 * 64
        assert entries.weight_count(quantised.model.layers[0].mlp.up_proj.weight) == 64 * 64


def test_a_dequantised_model_has_ordinary_layers(quantised):
    with contract(entries.dequantise):
        assert quantised.is_loaded_in_4bit
        plain = entries.dequantise(quantised, torch.float32)
        assert not plain.is_loaded_in_4bit
        assert type(plain.model.layers[1].mlp.up_proj) is torch.nn.Linear
