"""Every method of PEFT: its trainable parameters, training, saving, loading and continuing."""

import json
import shutil

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import Qwen2AudioForConditionalGeneration

from dramaeval.compat.peft import RANK_SCHEDULE
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import PACKAGE
from dramaeval.stages import evaluate, train
from dramaeval.stages.checks import check
from dramaeval.stages.context import RunContext
from dramaeval.stages.planner import make_plan
from dramaeval.stages.predictions_file import read_phase
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.train import make_trainer, save_judge

TINY = PACKAGE / "models" / "tiny"
METHODS = ("lora", "dora", "qlora", "adalora", "ia3", "prefix", "prompt")
QUICK = (
    "device=cpu",
    "task.dimensions=[pitch_dynamics]",
    "batch.eval_clips=2",
    "trainer.args.per_device_train_batch_size=2",
    "trainer.args.logging_steps=1",
    "trainer.args.save_strategy=no",
    "trainer.args.eval_strategy=no",
    "trainer.args.load_best_model_at_end=false",
    "trainer.args.warmup_steps=0",
    "evaluation.draws=20",
    "evaluation.html=false",
)


@pytest.fixture
def run_of(composed, make_clips, tmp_path):
    """A function that builds the context of a run; its judge is the tiny one unless overrides name another."""
    data = {
        "train": make_clips("train", 4, seconds=(0.4, 0.7)),
        "val": make_clips("val", 3, seconds=(0.3, 0.9, 0.5), seed=1),
    }
    given = [f"task.data.{split}={file}" for split, file in data.items()]

    def build(*overrides, name="run"):
        config = composed(*QUICK, *given, *overrides)
        check(config)
        return RunContext(config, RunFolder(tmp_path / name))

    return build


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


# hidden 160, intermediate 480, 4 layers; audio tower: d_model 128, ffn 512, 4 layers; projector 128 to 160
LLM_IN_OUT = 4 * (160 + 160) + 3 * (160 + 480)
LLM_OUT = 4 * 160 + 2 * 480 + 160


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["peft=qlora"], {"llm": 4 * 16 * LLM_IN_OUT}),
        (["peft=rslora", "adapt=projector"], {"projector": 64 * (128 + 160)}),
        # One magnitude for each output.
        (["peft=dora", "adapt=[llm,projector]"],
         {"llm": 4 * (16 * LLM_IN_OUT + LLM_OUT), "projector": 16 * (128 + 160) + 160}),
        # One singular value for each rank.
        (["peft=adalora", "adapt=all"],
         {"llm": 4 * 12 * (LLM_IN_OUT + 7), "projector": 12 * (128 + 160 + 1),
          "audio": 4 * 12 * (4 * (128 + 128) + 2 * (128 + 512) + 6)}),
        # IA3 scales the outputs of keys and values and the input of the last feed-forward layer.
        (["peft=ia3", "adapt=all"],
         {"llm": 4 * (160 + 160 + 480), "audio": 4 * (128 + 128 + 512), "projector": 160}),
        (["peft=ia3", "peft.target_modules=[q_proj,gate_proj]", "peft.feedforward_modules=[gate_proj]"],
         {"llm": 4 * (160 + 160)}),
        # Patterns and layer numbers select only layers of the parts in `adapt`.
        (["peft.target_modules=all-linear", "model.freeze_audio=true"], {"llm": 4 * 16 * LLM_IN_OUT}),
        (["peft.target_modules='.*\\.(q_proj|v_proj)'"], {"llm": 4 * 16 * 2 * (160 + 160)}),
        (["peft=ia3", "peft.target_modules='.*k_proj'"], {"llm": 4 * 160}),
        (["+peft.layers_to_transform=1"], {"llm": 16 * LLM_IN_OUT}),
        (["+peft.layers_to_transform=[0,3]", "+peft.layers_pattern=layers", "adapt=[llm,audio]"],
         {"llm": 2 * 16 * LLM_IN_OUT, "audio": 2 * 16 * (4 * (128 + 128) + 2 * (128 + 512))}),
        (["peft.target_modules=[q_proj]", "+peft.modules_to_save=[language_model.norm]"],
         {"llm": 4 * 16 * (160 + 160) + 160}),
        (["peft=prefix", "peft.num_virtual_tokens=7"], {"llm": 7 * 4 * 2 * 160}),
        (["peft=prompt", "peft.num_virtual_tokens=7"], {"llm": 7 * 160}),
        (["peft=none", "model.freeze_audio=true"],
         {"llm": None, "projector": 128 * 160 + 160, "other": 160 * 3072}),
        (["peft=none", "model.freeze_audio=true", "model.train_projector=false"],
         {"llm": None, "other": 160 * 3072}),
    ],
)  # fmt: skip
def test_trainable_parameters_by_part(run_of, overrides, expected):
    found = make_plan(run_of(*overrides)).by_part
    trained = {part: count for part, (count, _) in found.items() if count}
    assert trained.keys() == expected.keys()
    for part, count in expected.items():
        assert trained[part] == (found[part][1] if count is None else count), part


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["peft.target_modules=[q_proj,v_prj]"],
            "v_prj matches no layer of llm. Did you mean v_proj",
        ),
        (["peft.bias=all"], "set peft.bias=lora_only"),
    ],
)
def test_the_plan_refuses_adapter_settings_that_do_not_suit_the_model(run_of, overrides, message):
    with pytest.raises(ConfigError, match=message):
        make_plan(run_of(*overrides))


@pytest.mark.slow
def test_every_method_trains_saves_reloads_and_resumes(run_of, tmp_path, small_judge):
    saved_weights = {}
    for name in METHODS:
        # Each step has all four clips, so that losses can be compared. Methods with few parameters need a higher rate.
        rate = 1e-2 if name in ("adalora", "ia3", "prefix", "prompt") else 1e-3
        run = run_of(
            small_judge,
            f"peft={name}", "trainer.args.max_steps=8", f"trainer.args.learning_rate={rate}",
            "trainer.args.per_device_train_batch_size=4", name=name,
        )  # fmt: skip
        run.folder.path.mkdir()
        trainer = make_trainer(run)
        trainer.train()
        found = losses(trainer)
        assert len(found) == 8
        assert max(found[-2:]) < found[0] - 1e-3, (name, found)
        run.folder.model.mkdir()
        save_judge(run, trainer, run.folder.model)
        run.model, run.trained = trainer.model, True
        evaluate.run(run)
        saved_weights[name] = load_file(run.folder.model / "adapter_model.safetensors")
        left = {file.name for file in run.folder.model.iterdir()}
        assert not left & {"training_args.bin", RANK_SCHEDULE}, name

    # The saved files give the same judge; with qlora it is quantised again.
    for name in METHODS:
        checkpoint = f"checkpoint={tmp_path / name}"
        run = run_of(small_judge, "stages=[evaluate]", checkpoint, name=f"{name} again")
        run.folder.path.mkdir()
        evaluate.run(run)
    for name in METHODS:
        before, after = (
            read_phase(tmp_path / folder / "predictions.jsonl").ratings["val"]
            for folder in (name, f"{name} again")
        )
        for one, other in zip(before, after, strict=True):
            np.testing.assert_allclose(
                one.distribution, other.distribution, atol=1e-5, err_msg=name
            )

    # PEFT loads the adapter without this package.
    for name in METHODS:
        base = Qwen2AudioForConditionalGeneration.from_pretrained(
            small_judge.removeprefix("model.path=")
        )
        plain = PeftModel.from_pretrained(base, tmp_path / name / "model")
        found = adapter_state(plain)
        assert any(float(weight.abs().max()) > 0 for weight in saved_weights[name].values()), name
        for key, weight in saved_weights[name].items():
            assert torch.equal(found[key], weight), (name, key)

    # A further training starts with the saved weights.
    for name in METHODS:
        run = run_of(
            small_judge,
            f"peft={name}", f"checkpoint={tmp_path / name}", "trainer.args.max_steps=12",
            "trainer.args.learning_rate=1e-3", name=f"{name} further",
        )  # fmt: skip
        run.args.max_steps = 1
        trainer = make_trainer(run)
        adapter = trainer.model
        start = adapter_state(adapter)
        for key, weight in saved_weights[name].items():
            torch.testing.assert_close(start[key], weight, rtol=0, atol=0, msg=f"{name} {key}")
        trainer.train()
        after = adapter_state(adapter)
        assert any(not torch.equal(after[key], start[key]) for key in saved_weights[name]), name


def adapter_state(model):
    from peft import get_peft_model_state_dict

    return {key: one.detach().clone() for key, one in get_peft_model_state_dict(model).items()}


def test_audio_tower_projector_and_head_are_not_quantised(run_of):
    run = run_of("peft=qlora", "adapt=all")
    model = run.model
    kinds = {name: type(module).__name__ for name, module in model.named_modules()}
    packed = {name for name, kind in kinds.items() if kind == "Linear4bit"}
    layers = [f"model.language_model.layers.{layer}." for layer in range(4)]
    assert len(packed) == 7 * 4
    assert all(name.startswith(tuple(layers)) for name in packed)
    assert kinds["lm_head"] == "Linear"
    assert kinds["model.multi_modal_projector.linear"] == "Linear"
    assert kinds["model.audio_tower.layers.0.fc1"] == "Linear"
    state = model.model.language_model.layers[0].mlp.up_proj.weight.quant_state
    assert (state.quant_type, state.nested) == ("nf4", True)
    assert make_plan(run).packed == 4 * (4 * 160 * 160 + 3 * 160 * 480)


def test_other_quantised_parts_stop_the_run(run_of, monkeypatch):
    from dramaeval.models.errors import ModelError
    from dramaeval.models.families import base as loading

    # As if transformers did not recognise the names of the layers: then it quantises all of them.
    monkeypatch.setattr(loading, "for_language_model", lambda config, *rest: config)
    run = run_of("peft=qlora", "quantization.llm_int8_skip_modules=[nothing]")
    with pytest.raises(ModelError, match="outside the language model were quantised"):
        _ = run.model


@pytest.mark.slow
def test_adalora_follows_its_schedule_and_keeps_the_ranks(run_of, tmp_path, small_judge):
    steps = ["trainer.args.max_steps=10", "trainer.args.learning_rate=1e-2"]
    run = run_of(small_judge, "peft=adalora", "peft.init_r=4", "peft.target_r=2", *steps)
    assert (run.adapter.total_step, run.adapter.tinit, run.adapter.tfinal) == (10, 1, 3)
    trainer = make_trainer(run)
    allocator = trainer.model.base_model.rankallocator
    called = []
    plain = allocator.update_and_allocate
    allocator.update_and_allocate = lambda model, step, **rest: (
        called.append((step, any(one.grad is not None for one in model.parameters()))),
        plain(model, step, **rest),
    )[1]
    trainer.train()
    # PEFT's allocator is not called once the ranks are final, at step total - tfinal.
    assert called == [(step, True) for step in range(1, 8)]
    layers = 7 * 2
    pattern = trainer.model.peft_config["default"].rank_pattern
    assert sum(map(sum, pattern.values())) == 2 * layers
    assert len({sum(kept) for kept in pattern.values()}) > 1  # the ranks differ between layers
    run.folder.model.mkdir(parents=True)
    save_judge(run, trainer, run.folder.model)
    saved = json.loads((run.folder.model / "adapter_config.json").read_text())["rank_pattern"]
    assert sum(map(sum, saved.values())) == 2 * layers
    weights = load_file(run.folder.model / "adapter_model.safetensors")
    assert sum(one.shape[0] for name, one in weights.items() if "lora_A" in name) == 2 * layers


@pytest.mark.slow
def test_adalora_adds_its_orthogonality_loss_once_per_step(run_of, small_judge):
    """The loss of a step grows by 0.5 · the mean of ‖P Pᵀ − I‖ over all matrices, for any accumulation."""
    found = {}
    for weight, size, accumulate in ((0.5, 1, 4), (0.5, 4, 1), (0.0, 4, 1)):
        run = run_of(
            small_judge,
            "peft=adalora", f"peft.orth_reg_weight={weight}", "trainer.args.max_steps=2",
            f"trainer.args.per_device_train_batch_size={size}",
            f"trainer.args.gradient_accumulation_steps={accumulate}",
        )  # fmt: skip
        trainer = make_trainer(run)
        norms = []
        for name, one in trainer.model.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                gram = one @ one.T if "lora_A" in name else one.T @ one
                norms.append(float((gram - torch.eye(len(gram))).norm()))
        trainer.train()
        found[weight, size] = losses(trainer)[0]
    expected = found[0.0, 4] + 0.5 * np.mean(norms)
    assert found[0.5, 1] == pytest.approx(expected, abs=1e-3)
    assert found[0.5, 4] == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["adalora", "prompt"])
def test_a_resumed_training_ends_with_the_same_adapter(run_of, method, small_judge):
    words = [
        small_judge,
        f"peft={method}", "trainer.args.max_steps=6", "trainer.args.learning_rate=1e-2",
        "trainer.args.save_strategy=steps", "trainer.args.save_steps=3",
    ]  # fmt: skip
    whole = run_of(*words, name="whole")
    trainer = make_trainer(whole)
    trainer.train()
    expected = adapter_state(trainer.model)
    resumed = run_of(*words, name="resumed")
    trainer = make_trainer(resumed)
    trainer.train(resume_from_checkpoint=str(whole.folder.checkpoints / "checkpoint-3"))
    found = adapter_state(trainer.model)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name


def test_adalora_with_too_few_steps_or_another_total_is_refused(run_of):
    with pytest.raises(ConfigError, match="needs two steps before its ranks are final"):
        run_of("peft=adalora", "trainer.args.max_steps=1")
    with pytest.raises(ConfigError, match=r"peft\.total_step=9, but this run takes 5 steps"):
        run_of("peft=adalora", "trainer.args.max_steps=5", "peft.total_step=9")


@pytest.mark.slow
@pytest.mark.parametrize("method", ["adalora", "prefix"])
def test_the_best_step_is_restored(run_of, method, small_judge):
    run = run_of(
        small_judge,
        f"peft={method}", "trainer.args.max_steps=4", "trainer.args.learning_rate=5e-2",
        "trainer.args.save_strategy=steps", "trainer.args.save_steps=1",
        "trainer.args.eval_strategy=steps", "trainer.args.eval_steps=1",
        "trainer.args.load_best_model_at_end=true", "trainer.args.metric_for_best_model=cross_entropy",
        "trainer.args.greater_is_better=false",
    )  # fmt: skip
    trainer = make_trainer(run)
    trainer.train()
    seen = {
        e["step"]: e["eval_cross_entropy"]
        for e in trainer.state.log_history
        if "eval_cross_entropy" in e
    }
    best = trainer.state.best_global_step
    assert seen[best] == min(seen.values())
    assert trainer.evaluate()["eval_cross_entropy"] == pytest.approx(seen[best], abs=1e-5)


@pytest.mark.slow
def test_settings_that_contradict_the_loaded_adapter_are_refused(run_of, tmp_path):
    from dramaeval.models.adapters import attach

    run = run_of("peft.r=8")
    attach(run.model, run.adapter).save_pretrained(tmp_path / "adapter")
    (tmp_path / "other").symlink_to(TINY)
    # Another base model: files of the same size with other weights.
    shutil.copytree(TINY, tmp_path / "base")
    weights = tmp_path / "base" / "model.safetensors"
    tensors = load_file(weights)
    next(iter(tensors.values())).add_(1)
    save_file(tensors, weights, metadata={"format": "pt"})
    for overrides, message in (
        (["peft=ia3"], "holds an adapter of Lora, but peft is IA3"),
        (["peft=none"], "merge it first"),
        (["peft.r=4"], "peft.r=4, but the adapter in checkpoint has 8: set peft.r=8"),
        (["peft=dora", "peft.r=8"], "peft.use_dora=True, but the adapter in checkpoint has False"),
        (["peft.r=8", "adapt=audio"], "adapt or peft.target_modules"),
        (["peft.r=8", f"model.path={tmp_path / 'base'}"], "set model.path="),
    ):
        with pytest.raises(ConfigError) as refused:
            run_of(*overrides, f"checkpoint={tmp_path / 'adapter'}", name="next")
        assert message in str(refused.value)
    run_of("peft.r=8", f"checkpoint={tmp_path / 'adapter'}", f"model.path={tmp_path / 'other'}")


@pytest.mark.slow
def test_an_adapter_is_loaded_on_the_base_that_it_was_trained_on(run_of, tmp_path):
    """The base is the full model of another run; the default model=tiny must not replace it."""
    full = tmp_path / "full"
    shutil.copytree(TINY, full)
    weights = load_file(full / "model.safetensors")
    name = "language_model.model.layers.0.mlp.up_proj.weight"
    weights[name] = weights[name] * 1.5
    save_file(weights, full / "model.safetensors", metadata={"format": "pt"})
    first = run_of(f"model.path={full}", name="first")
    train.run(first)
    again = run_of("stages=[evaluate]", f"checkpoint={first.folder.path}", name="again")
    assert again.base == full
    layer = again.model.base_model.model.model.language_model.layers[0].mlp.up_proj
    assert torch.equal(layer.base_layer.weight, weights[name])
