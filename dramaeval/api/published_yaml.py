"""Translates the published module's YAML files into overrides of this project.

``python -m dramaeval.api.published_yaml sft_lora.yaml`` prints the equivalent overrides, one per line.
``python -m dramaeval.api.published_yaml sft_lora.yaml | xargs -d '\\n' python launch.py`` starts the same training.
Settings without an equivalent are listed on stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dramaeval.api.peft_config import METHODS, create_peft_config, quantization_keys
from dramaeval.config.composition import choices
from dramaeval.config.fields import settings_of
from dramaeval.config.keys import argument_names, instead
from dramaeval.config.literal import as_override
from dramaeval.config.model_schema import ModelConfig
from dramaeval.config.problems import ConfigError, near_match_hint
from dramaeval.startup import accept_any_text
from dramaeval.training.trl_arguments import set_by_run, without_effect

#: The parts of the published recipe (arXiv 2511.01261) that its file does not contain: one question per record and step
#: with a random rater's value as plain text, and criteria before the context. With one question per clip, a batch of
#: clips is as large as a published batch of questions.
RECIPE = (
    "task.labels=sample",
    "task.prompt_layout=criteria_first",
    "trainer.objective=answer_ce",
    "batch.questions_per_clip=1",
)
_MODELS = {
    "Qwen/Qwen2-Audio-7B-Instruct": "qwen2_audio_7b",
    "Qwen/Qwen2-Audio-7B": "qwen2_audio_7b_base",
    "Qwen/Qwen2-Audio-14B-Instruct": "qwen2_audio_14b",
}
_PEFT_CHOICES = {"prefix_tuning": "prefix", "prompt_tuning": "prompt"}
_RENAMED = {
    "output_dir": "hydra.run.dir",
    "data_file": "task.data.train",
    "train_file": "task.data.train",
    "per_device_eval_batch_size": "batch.eval_clips",
    "attn_implementation": "model.attention",
    "seed": "seed",
    "warmup_ratio": "trainer.args.warmup_steps",  # below 1 a share of all steps
}
#: Arguments for which the published scripts use transformers' defaults, and this project has other defaults.
_OTHER_DEFAULTS = (
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
)


@dataclass
class Translation:
    """The result of translating a published file.

    Attributes:
        overrides: words for the command line of launch.py.
        notes: remarks about settings that are written differently here.
        lost: settings without an equivalent, each with the reason.
    """

    overrides: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def set(self, key: str, value: Any) -> None:
        """Add an override."""
        self.overrides.append(f"{key}={as_override(value)}")


def translate(values: Mapping[str, Any]) -> Translation:
    """The equivalent of the content of a published file, which has the keys ``training`` and ``peft``.

    Raises:
        ConfigError: the ``peft`` section is not valid.
    """
    result = Translation()
    result.lost += [
        f"{key}: only training and peft are known"
        for key in values
        if key not in ("training", "peft")
    ]
    training, peft = values.get("training") or {}, values.get("peft") or {"enabled": False}
    for name, section in (("training", training), ("peft", peft)):
        if not isinstance(section, Mapping):
            raise ConfigError(f"{name} must be a mapping, not {section!r}.")
    _training(training, result)
    _peft(peft, result)
    result.overrides += RECIPE
    return result


def _training(section: Mapping[str, Any], result: Translation) -> None:
    import trl

    known = argument_names(trl.SFTConfig)
    unusable = _unusable()
    for key, value in section.items():
        where = f"training.{key}={value}"
        if key == "model_name_or_path":
            result.set("model", _MODELS.get(value, "qwen2_audio"))
            if value not in _MODELS:
                result.set("model.path", str(value))
        elif key in _RENAMED:
            result.set(_RENAMED[key], value)
        elif key in ("bf16", "fp16", "torch_dtype", "dtype"):
            _precision(key, value, result)
        elif key == "report_to":
            _loggers(value, result)
        elif key == "deepspeed" and value:
            if (zero := Path(str(value)).stem.removeprefix("ds_")) in choices("zero"):
                result.set("zero", zero)
            else:
                result.lost.append(f"{where}: choose zero={'|'.join(choices('zero'))}")
        elif key in unusable:
            result.lost.append(f"{where}: {unusable[key]}")
        elif key in known:
            result.set(f"trainer.args.{key}", value)
        else:
            hint = near_match_hint(key, known)
            result.lost.append(f"{where}: not an argument of trl.SFTConfig.{hint}")
    _set_defaults(section, result)
    if "max_steps" not in section and "num_train_epochs" in section:
        result.notes.append("an epoch asks one question about each record, as published")


def _unusable() -> dict[str, str]:
    """The arguments of trl.SFTConfig that a run does not take, each with the reason and the setting to use instead."""
    fixed, ignored = set_by_run(by_reward=False), without_effect(by_reward=False)
    return {key: f"set by the run; {instead(use)}" for key, use in fixed.items()} | {
        key: f"without effect on a judge; {instead(use)}" for key, use in ignored.items()
    }


def _set_defaults(section: Mapping[str, Any], result: Translation) -> None:
    """Set transformers' defaults for arguments that the file does not set and that have other defaults here."""
    from transformers import TrainingArguments

    defaults = {argument.name: argument.default for argument in fields(TrainingArguments)}
    for key in _OTHER_DEFAULTS:
        if key in section or (key == "warmup_steps" and "warmup_ratio" in section):
            continue
        value = getattr(defaults[key], "value", defaults[key])
        result.set(f"trainer.args.{key}", value)
        result.notes.append(f"training.{key} is left out: {value}, as in transformers")


def _precision(key: str, value: Any, result: Translation) -> None:
    dtype = str(value).removeprefix("torch.")
    dtypes = settings_of(ModelConfig)["dtype"].choices
    if key == "bf16" and value is True:
        result.notes.append(
            "training.bf16=true: model.dtype=auto, the default, is bfloat16 wherever the GPU supports it"
        )
    elif key in ("bf16", "fp16") and value is False:
        result.notes.append(
            f"training.{key}=false: model.dtype=auto chooses; model.dtype=float32 forbids it"
        )
    elif key == "fp16":
        result.set("model.dtype", "float16")
    elif dtype in dtypes:
        result.set("model.dtype", dtype)
    else:
        result.lost.append(f"training.{key}={value}: choose model.dtype={'|'.join(dtypes)}")


def _loggers(value: Any, result: Translation) -> None:
    named = [value] if isinstance(value, str) else list(value or ["none"])
    known = [name for name in named if name in choices("logger")]
    result.lost += [
        f"training.report_to={name}: choose logger={'|'.join(choices('logger'))}"
        for name in named
        if name not in known
    ]
    if known:
        result.set("logger", known[0] if len(known) == 1 else known)


def _peft(section: Mapping[str, Any], result: Translation) -> None:
    create_peft_config(section)
    if not section.get("enabled", True):
        result.set("peft", "none")
        return
    method = section["method"]
    result.set("peft", _PEFT_CHOICES.get(method, method))
    arguments = dict(section.get(method) or {})
    moved = quantization_keys() if method == "qlora" else set()
    for key, value in arguments.items():
        result.set(f"quantization.{key}" if key in moved else f"peft.{key}", value)
    if arguments.get("target_modules") and isinstance(arguments["target_modules"], list):
        # The published list matches the ends of layers' names in the whole model, and so in the audio encoder.
        result.set("adapt", ["llm", "audio"])
        result.notes.append(
            "peft target_modules also match layers of the audio encoder, as published: adapt=llm keeps them to "
            "the language model"
        )
    unused = [name for name in METHODS if name in section and name != method]
    result.notes += [f"peft.{name}: not used by method={method}" for name in unused]


def main(words: list[str] | None = None) -> int:
    """Print the overrides of a file on stdout, and notes and errors on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m dramaeval.api.published_yaml",
        description="Print the overrides that are equivalent to a published sft_ft.yaml or sft_lora.yaml.",
    )
    accept_any_text()
    parser.add_argument("file", type=Path, metavar="FILE.yaml")
    file = parser.parse_args(words).file
    try:
        # Interpolations are not resolved, since the file may come from another person.
        values = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        if not isinstance(values, Mapping):
            raise ConfigError(f"{file} holds no mapping with training and peft.")
        result = translate({str(key): value for key, value in values.items()})
    except (OSError, UnicodeDecodeError, ConfigError, OmegaConfBaseException, YAMLError) as error:
        print(f"{file}: {error}", file=sys.stderr)
        return 1
    print("\n".join(result.overrides))
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    for lost in result.lost:
        print(f"not translated: {lost}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
