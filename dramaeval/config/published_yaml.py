"""From the published module's YAML files to this project's overrides.

``python -m dramaeval.config.published_yaml sft_lora.yaml`` prints the equivalent overrides, one a line, so that
``python -m dramaeval.config.published_yaml sft_lora.yaml | xargs -d '\\n' python launch.py`` trains the same; what
cannot be carried over is named on stderr.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dramaeval.config.composition import choices
from dramaeval.config.keys import argument_names
from dramaeval.config.literal import literal
from dramaeval.config.problems import ConfigError
from dramaeval.stages.checks import RESERVED

#: The published recipe beside its numbers: one question a record and step, about a random rater's value, the
#: criteria before the context, trained as plain text. With one question a clip, a batch counts alike.
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
_GROUPS = {"prefix_tuning": "prefix", "prompt_tuning": "prompt"}
_PLAIN = {
    "output_dir": "hydra.run.dir",
    "data_file": "task.data.train",
    "train_file": "task.data.train",
    "per_device_eval_batch_size": "batch.eval_clips",
    "attn_implementation": "model.attention",
    "seed": "seed",
}
#: What the published scripts leave to transformers where the file does not say it, and this project sets.
_LEFT_TO_TRANSFORMERS = (
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "num_train_epochs",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
)
_LOGGERS = ("tensorboard", "wandb", "none")
_DTYPES = ("float32", "bfloat16", "float16", "auto")


@dataclass
class Carried:
    """What became of a published file.

    Attributes:
        overrides: for the command line of launch.py.
        notes: what reads differently here and means the same.
        lost: what could not be carried over, with the reason.
    """

    overrides: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def set(self, key: str, value: Any) -> None:
        """Add an override."""
        self.overrides.append(f"{key}={written(value)}")


def carry_over(values: Mapping[str, Any]) -> Carried:
    """The equivalent of a published configuration.

    Args:
        values: the file's mapping, with ``training`` and ``peft``.

    Raises:
        ConfigError: the ``peft`` section is wrong in itself.
    """
    carried = Carried()
    for key in values:
        if key not in ("training", "peft"):
            carried.lost.append(f"{key}: only training and peft are known")
    training, peft = values.get("training") or {}, values.get("peft") or {"enabled": False}
    for name, section in (("training", training), ("peft", peft)):
        if not isinstance(section, Mapping):
            raise ConfigError([f"{name} must be a mapping, not {section!r}."])
    _training(training, carried)
    _peft(peft, carried)
    carried.overrides += RECIPE
    return carried


def written(value: Any) -> str:
    """A value as Hydra's command line takes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(written(one) for one in value)}]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{written(one)}" for key, one in value.items()) + "}"
    if not isinstance(value, str):
        return str(value)
    # A text that reads as anything else, or holds what Hydra's grammar uses, stands in quotes.
    plain = value[:1].isalpha() and all(one.isalnum() or one in "_-./" for one in value)
    if plain and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return value
    # Backslashes are themselves, except before a quote and at the end, where they come in pairs.
    return "'" + re.sub(r"(\\*)('|$)", _escaped, literal(value)) + "'"


def _escaped(found: re.Match[str]) -> str:
    return found[1] * 2 + ("\\'" if found[2] else "")


def _training(section: Mapping[str, Any], carried: Carried) -> None:
    import trl

    known = argument_names(trl.SFTConfig)
    for key, value in section.items():
        where = f"training.{key}"
        if key == "model_name_or_path":
            _model(str(value), carried)
        elif key in _PLAIN:
            carried.set(_PLAIN[key], value)
        elif key in ("bf16", "fp16", "torch_dtype", "dtype"):
            _precision(key, value, carried)
        elif key == "report_to":
            _loggers(value, carried)
        elif key == "deepspeed" and value:
            _zero(str(value), carried)
        elif key == "warmup_ratio":
            carried.set("trainer.args.warmup_steps", value)  # below 1 a share of all steps
        elif key in RESERVED:
            carried.lost.append(f"{where}={value}: set by the run; use {RESERVED[key]}")
        elif key in known:
            carried.set(f"trainer.args.{key}", value)
        else:
            near = get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            carried.lost.append(f"{where}={value}: not an argument of trl.SFTConfig{hint}")
    _left_out(section, carried)
    if "max_steps" not in section and "num_train_epochs" in section:
        carried.notes.append("an epoch asks one question about each record, as published")


def _left_out(section: Mapping[str, Any], carried: Carried) -> None:
    """What the file leaves to transformers' own defaults, which are not this project's."""
    from dataclasses import fields

    from transformers import TrainingArguments

    usual = {one.name: one.default for one in fields(TrainingArguments)}
    for key in _LEFT_TO_TRANSFORMERS:
        if key in section or (key == "warmup_steps" and "warmup_ratio" in section):
            continue
        value = getattr(usual[key], "value", usual[key])
        carried.set(f"trainer.args.{key}", value)
        carried.notes.append(f"training.{key} is left out: {value}, as in transformers")


def _model(name: str, carried: Carried) -> None:
    if name in _MODELS:
        carried.set("model", _MODELS[name])
        return
    carried.set("model", "qwen2_audio")
    carried.set("model.path", name)


def _precision(key: str, value: Any, carried: Carried) -> None:
    dtype = str(value).removeprefix("torch.")
    if key == "bf16" and value is True:
        carried.notes.append(
            "training.bf16=true: model.dtype=auto, the default, is bfloat16 wherever the GPU has it"
        )
    elif key in ("bf16", "fp16") and value is False:
        carried.notes.append(
            f"training.{key}=false: model.dtype=auto chooses; model.dtype=float32 forbids it"
        )
    elif key == "fp16":
        carried.set("model.dtype", "float16")
    elif dtype in _DTYPES:
        carried.set("model.dtype", dtype)
    else:
        carried.lost.append(f"training.{key}={value}: choose model.dtype={'|'.join(_DTYPES)}")


def _loggers(value: Any, carried: Carried) -> None:
    named = [value] if isinstance(value, str) else list(value or ["none"])
    kept = [name for name in named if name in _LOGGERS]
    carried.lost += [
        f"training.report_to={name}: choose logger={'|'.join(_LOGGERS)}"
        for name in named
        if name not in _LOGGERS
    ]
    if kept:
        carried.set("logger", kept[0] if len(kept) == 1 else kept)


def _zero(file: str, carried: Carried) -> None:
    """ds_zero2.json and its like become a choice of the group ``zero``."""
    stem = Path(file).stem.removeprefix("ds_")
    if stem in choices("zero"):
        carried.set("zero", stem)
    else:
        carried.lost.append(f"training.deepspeed={file}: choose zero={'|'.join(choices('zero'))}")


def _peft(section: Mapping[str, Any], carried: Carried) -> None:
    from dramaeval.api.peft_config import METHODS, create_peft_config, quantization_keys

    create_peft_config(section)
    if not section.get("enabled", True):
        carried.set("peft", "none")
        return
    method = section["method"]
    group = _GROUPS.get(method, method)
    arguments = dict(section.get(method) or {})
    if group not in choices("peft"):
        carried.lost.append(f"peft.method={method}: choose peft={'|'.join(choices('peft'))}")
        return
    carried.set("peft", group)
    apart = quantization_keys() if method == "qlora" else set()
    for key, value in arguments.items():
        carried.set(f"quantization.{key}" if key in apart else f"peft.{key}", value)
    if arguments.get("target_modules") and isinstance(arguments["target_modules"], list):
        # The published list is matched by the ends of names everywhere, and the tower's layers share them.
        carried.set("adapt", ["llm", "audio"])
        carried.notes.append(
            "peft target_modules also match layers of the audio tower, as published: adapt=llm keeps them to "
            "the language model"
        )
    unused = [name for name in METHODS if name in section and name != method]
    carried.notes += [f"peft.{name}: not used by method={method}" for name in unused]


def main(words: list[str] | None = None) -> int:
    """Read a file, print its overrides on stdout and the rest on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m dramaeval.config.published_yaml",
        description="Print the overrides that are equivalent to a published sft_ft.yaml or sft_lora.yaml.",
    )
    parser.add_argument("file", type=Path, metavar="FILE.yaml")
    file = parser.parse_args(words).file
    try:
        # Text that looks like an interpolation stays text: the file may be somebody else's.
        values = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        if not isinstance(values, Mapping):
            raise ConfigError([f"{file} holds no mapping with training and peft."])
        carried = carry_over({str(key): value for key, value in values.items()})
    except (OSError, UnicodeDecodeError, ConfigError, OmegaConfBaseException, YAMLError) as error:
        print(f"{file}: {error}", file=sys.stderr)
        return 1
    print("\n".join(carried.overrides))
    for note in carried.notes:
        print(f"note: {note}", file=sys.stderr)
    for lost in carried.lost:
        print(f"not carried over: {lost}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
