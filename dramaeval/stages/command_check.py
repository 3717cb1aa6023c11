"""Checks a composed command before Hydra writes files and before heavy libraries are imported.

It reports unknown keys, and settings that have an effect only with ``-m``. `dramaeval.stages.checks` makes the other
checks.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from dramaeval.config import fields
from dramaeval.config.config_folder import command_name
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Root, Stage, is_about_a_sweep
from dramaeval.config.secrets import names_secret, without_secrets
from dramaeval.config.unknown_keys import problems_of_arguments
from dramaeval.distributed.zero_settings import unknown_settings
from dramaeval.tasks.settings import missing_files
from dramaeval.training import settings as training
from dramaeval.training.trl_arguments import reserved

#: The launcher and the sweeper of `configs/launch.yaml`, which a command without ``-m`` does not use.
_DEFAULTS = {"hydra/launcher": "local_processes", "hydra/sweeper": "grid", "search": None}
#: The prefixes of keys that only a command with ``-m`` uses.
_OF_SWEEPS = ("hydra.launcher.", "hydra.sweeper.", "hydra.sweep.")


class CommandCheck(Callback):
    """A Hydra callback that ends an invalid command before Hydra writes its settings."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check a command without ``-m``."""
        _end_with(problems_of_command(config))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check a command with ``-m``; its runs are checked when they are composed."""
        problems = [
            f"{word} is not used with -m: give hydra.sweep.dir=FOLDER."
            for word in _words(config)
            if word.startswith("hydra.run.dir=")
        ]
        if Stage.serve in config.stages:
            problems.append(
                "stages=[serve] serves one judge until it is stopped: start it without -m."
            )
        _end_with([*problems, *_early_problems(config)])


def problems_of_command(config: DictConfig) -> list[str]:
    """The problems of a composed command without ``-m`` that need no heavy library to find."""
    return [*needs_multirun(config), *_early_problems(config)]


def _end_with(problems: Sequence[str]) -> None:
    """End the command if there are problems."""
    if problems:
        # Hydra turns all other errors of a callback into warnings.
        raise SystemExit(f"\n{without_secrets(str(ConfigError(problems)))}")


def needs_multirun(config: DictConfig) -> list[str]:
    """The problem of settings that a command without ``-m`` would ignore, with the correct command."""
    if is_about_a_sweep(config):
        return []
    chosen = config.hydra.runtime.choices
    names = [
        f"{group}={chosen[group]}"
        for group, default in _DEFAULTS.items()
        if chosen.get(group) not in (default, None)
    ]
    words = _words(config)
    names += [word for word in words if word.lstrip("+").startswith(_OF_SWEEPS)]
    names += [f"launch.{key}=true" for key in config.launch if config.launch[key]]
    if not names:
        return []
    corrected = [word.replace("hydra.run.dir=", "hydra.sweep.dir=") for word in words]
    return [
        f"{', '.join(names)}: without -m the run starts here and now, and these settings have no effect. Type: "
        f"{command_name()} -m {shlex.join(corrected)}"
    ]


def _words(config: DictConfig) -> list[str]:
    """The overrides of the command line."""
    overrides = config.hydra.overrides
    words = [*map(str, overrides.hydra), *map(str, overrides.task)]
    return [word for word in words if not word.startswith("hydra.mode=")]  # Hydra adds it


def _early_problems(config: DictConfig) -> list[str]:
    """The unknown keys; if there are any, together with other problems that need no heavy library to find."""
    settings = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    unknown = fields.problems(Root, settings, only_keys=True) + unknown_arguments(settings)
    unknown += training.refused_arguments(settings)
    unknown = [problem for problem in unknown if not names_secret(problem.partition(" ")[0])]
    problems = [*unknown, *_stage_problems(settings)]
    if not problems:
        return []
    args = settings.trainer.args
    problems += fields.problems(Root, settings) + missing_files(settings)
    problems += fields.range_problems(args, "trainer.args", training.ARGUMENT_LIMITS)
    return list(dict.fromkeys(problems))


def unknown_arguments(settings: DictConfig) -> list[str]:
    """The unknown keys of nodes that hold the arguments of classes or of other libraries.

    Args:
        settings: a composed configuration without Hydra's node.
    """
    reserved_arguments = {**reserved(by_reward=False), **reserved(by_reward=True)}
    later = {"trainer.args": list(reserved_arguments), "trainer": list(training.SUPPLIED)}
    zero = settings.zero
    unknown = unknown_settings(zero) if OmegaConf.is_dict(zero) else []
    return problems_of_arguments(settings, later) + unknown


def _stage_problems(settings: DictConfig) -> list[str]:
    if Stage.report not in settings.stages or len(settings.stages) == 1:
        return []
    names = ",".join(stage.name for stage in settings.stages)
    return [
        f"stages=[{names}]: report compares finished runs and needs a separate command. Leave it out: evaluate writes "
        "the report.html of the run. Later, stages=[report] runs=[FOLDER,FOLDER] compares runs."
    ]
