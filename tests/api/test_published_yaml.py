"""The published YAML layout is translated into overrides that compose and have the same meaning."""

import pytest
from hydra.utils import instantiate

from dramaeval.api.published_yaml import as_override, main, translate
from dramaeval.config.problems import ConfigError
from dramaeval.stages.builders import build_family
from dramaeval.stages.checks import check
from dramaeval.stages.training_arguments import build_adapter

FULL = """
training:
  model_name_or_path: "Qwen/Qwen2-Audio-7B-Instruct"
  num_train_epochs: 2
  per_device_train_batch_size: 4
  gradient_accumulation_steps: 4
  learning_rate: 0.00005
  weight_decay: 0.01
  warmup_steps: 100
  bf16: true
  gradient_checkpointing: true

peft:
  enabled: false
  method: "lora"
  lora:
    r: 16
    lora_alpha: 32
    target_modules: ["q_proj", "v_proj", "k_proj", "o_proj"]
    lora_dropout: 0.1
"""
LORA = """
training:
  model_name_or_path: "/data/my model"
  num_train_epochs: 3
  per_device_train_batch_size: 8
  learning_rate: 0.0001
  report_to: [tensorboard, wandb]
  output_dir: exp/out=1
  seed: 7
  lerning_rate: 1
  deepspeed: conf/ds_zero9.json
  resume_from_checkpoint: true
peft:
  enabled: true
  method: "lora"
  lora:
    r: 32
    lora_alpha: 64
    target_modules: ["q_proj", "v_proj", "k_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora_dropout: 0.1
extra: 1
"""


def translated(text):
    from omegaconf import OmegaConf

    return translate(OmegaConf.to_container(OmegaConf.create(text)))


def test_settings_of_full_fine_tuning_are_translated(composed):
    found = translated(FULL)
    config = composed(*found.overrides)
    check(config)
    args = config.trainer.args
    assert config.model.path == "Qwen/Qwen2-Audio-7B-Instruct"
    assert (args.num_train_epochs, args.per_device_train_batch_size) == (2, 4)
    assert (args.gradient_accumulation_steps, args.learning_rate) == (4, 5e-5)
    assert (args.weight_decay, args.warmup_steps, args.gradient_checkpointing) == (0.01, 100, True)
    assert config.peft is None
    assert (config.task.labels, config.trainer.objective) == ("sample", "answer_ce")
    assert (config.task.prompt_layout, config.batch.questions_per_clip) == ("criteria_first", 1)
    assert not found.lost
    assert any("bf16" in note for note in found.notes)


def test_lora_is_translated_and_unknown_settings_are_listed_as_lost(composed):
    found = translated(LORA)
    config = composed(*(one for one in found.overrides if not one.startswith("hydra.")))
    check(config)
    assert "hydra.run.dir='exp/out=1'" in found.overrides
    assert (config.model.path, config.seed) == ("/data/my model", 7)
    assert (config.logger.tensorboard, config.logger.wandb.enabled) == (True, True)
    adapter = build_adapter(config, build_family(config))
    assert (adapter.r, adapter.lora_alpha, adapter.lora_dropout) == (32, 64, 0.1)
    assert list(config.adapt) == ["llm", "audio"]
    lost = "\n".join(found.lost)
    assert (
        "training.lerning_rate=1: not an argument of trl.SFTConfig. Did you mean learning_rate"
        in lost
    )
    assert "training.deepspeed=conf/ds_zero9.json: choose zero=none" in lost
    assert "training.resume_from_checkpoint=True: set by the run" in lost
    assert "extra: only training and peft are known" in lost
    assert len(found.lost) == 4


def test_a_wrong_peft_section_is_an_error():
    with pytest.raises(ConfigError, match="Did you mean lora_alpha"):
        translated("peft: {enabled: true, method: lora, lora: {lora_alfa: 1}}")


@pytest.mark.slow
def test_values_with_special_characters_are_quoted_for_the_command_line(composed):
    for value in (
        "a b",
        "it's",
        "null",
        "1e3",
        "a=b",
        "back\\slash",
        "end\\",
        "both\\'",
        "before a line\\\n",
        "x,y",
        "{z}",
        ["p", "q r"],
        0.5,
        True,
    ):
        config = composed(f"trainer.args.run_name={as_override(value)}")
        assert config.trainer.args.run_name == value, value


def test_the_command_prints_overrides_and_reports_wrong_files(tmp_path, capsys):
    file = tmp_path / "sft_lora.yaml"
    file.write_text(LORA)
    assert main([str(file)]) == 0
    done = capsys.readouterr()
    assert done.out.splitlines() == translated(LORA).overrides
    assert "not translated: training.lerning_rate=1" in done.err
    assert main([str(tmp_path / "none.yaml")]) == 1
    file.write_text("- a list")
    assert main([str(file)]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_settings_absent_from_a_file_keep_the_defaults_of_transformers(composed, tmp_path):
    from transformers import TrainingArguments

    found = translated("training: {warmup_ratio: 0.03, output_dir: 'my runs'}")
    args = composed(*found.overrides).trainer.args
    defaults = TrainingArguments(output_dir=str(tmp_path), report_to="none")
    for key in ("learning_rate", "weight_decay", "max_grad_norm", "num_train_epochs"):
        assert args[key] == getattr(defaults, key)
    assert args.per_device_train_batch_size == defaults.per_device_train_batch_size
    assert (args.lr_scheduler_type, args.warmup_steps) == (defaults.lr_scheduler_type.value, 0.03)
    assert not found.lost
    assert "training.weight_decay is left out: 0.0, as in transformers" in found.notes
    assert "hydra.run.dir='my runs'" in found.overrides  # a line of its own, for xargs -d '\n'


@pytest.mark.parametrize("task", ["realism", "archetype"])
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("full", {"learning_rate": 5e-5, "weight_decay": 0.01, "per_device_train_batch_size": 4,
                  "gradient_accumulation_steps": 4, "warmup_steps": 100, "max_steps": 3000,
                  "num_train_epochs": 2, "lr_scheduler_type": "cosine", "gradient_checkpointing": True}),
        ("lora", {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4,
                  "warmup_steps": 1000, "max_steps": 10000, "gradient_checkpointing": True}),
    ],
)  # fmt: skip
def test_experiments_have_the_published_figures(composed, task, kind, expected):
    config = composed(f"experiment={task}_{kind}", "model=qwen2_audio_7b")
    check(config)
    assert {key: config.trainer.args[key] for key in expected} == expected
    assert config.task.name == {"realism": "role", "archetype": "archetype"}[task]
    assert (config.task.labels, config.batch.questions_per_clip) == ("sample", 1)
    assert instantiate(config.trainer.objectives[config.trainer.objective])
    if kind == "full":
        assert config.peft is None
        return
    assert (config.peft.r, config.peft.lora_alpha, config.peft.lora_dropout) == (16, 32, 0.1)
    assert len(config.peft.target_modules) == 7
