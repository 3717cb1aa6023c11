"""Reads files of earlier versions, in which some classes have other names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dramaeval.config.literal import read_plain
from dramaeval.config.problems import ConfigError

#: The current name of each renamed class, by the name that files of version 0.1.0 have under ``_target_``.
RENAMED = {
    "dramaeval.cluster.locking_callback.LocksRunFolder": "dramaeval.distributed.locking_callback.LocksRunFolder",
    "dramaeval.models.audio_flamingo3.AudioFlamingo3": "dramaeval.models.families.audio_flamingo3.AudioFlamingo3",
    "dramaeval.models.causal_lm.CausalLM": "dramaeval.models.families.causal_lm.CausalLM",
    "dramaeval.models.qwen2_5_omni.Qwen25Omni": "dramaeval.models.families.qwen2_5_omni.Qwen25Omni",
    "dramaeval.models.qwen2_audio.Qwen2Audio": "dramaeval.models.families.qwen2_audio.Qwen2Audio",
    "dramaeval.models.voxtral.Voxtral": "dramaeval.models.families.voxtral.Voxtral",
    "dramaeval.run.storage.FolderCheck": "dramaeval.stages.storage_errors.FolderCheck",
    "dramaeval.tasks.together.TogetherTask": "dramaeval.tasks.all_dimensions.AllDimensionsTask",
    "dramaeval.training.grpo.JudgeGRPO": "dramaeval.training.grpo.trainer.JudgeGRPOTrainer",
    "dramaeval.training.sft.JudgeTrainer": "dramaeval.training.sft.trainer.JudgeSFTTrainer",
}


def read_saved(file: Path) -> Any:
    """The plain values of a YAML file that this package wrote, with the current names of classes.

    Raises:
        OSError: the file cannot be read.
        ConfigError: it is not YAML.
    """
    from yaml import YAMLError

    try:
        return with_current_targets(read_plain(file))
    except (YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file} is not YAML: {reason}. Restore it from a copy.") from None


def with_current_targets(values: Any) -> Any:
    """A copy of plain values in which every ``_target_``, at any depth, has its current name."""
    if isinstance(values, dict):
        return {
            key: RENAMED.get(str(value), value)
            if key == "_target_"
            else with_current_targets(value)
            for key, value in values.items()
        }
    return [with_current_targets(value) for value in values] if isinstance(values, list) else values
