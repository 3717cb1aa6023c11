"""The command line: compose a run from config groups, check it, run it.

The console script ``dramaeval`` and ``python launch.py`` start here:

dramaeval task=role peft=lora            fine-tune and evaluate
dramaeval score RUN clip.wav scene="…"   score clips; see dramaeval.config.score_command
dramaeval serve RUN                      answer HTTP requests; see dramaeval.serving
dramaeval plan=true                      check everything, print the plan, stop
dramaeval -m peft=lora,none seed=0,1,2   a sweep; hydra/launcher=slurm submits it to a cluster
dramaeval sweep=FOLDER resume=true       run what has not finished; stages=[report] writes its table
dramaeval processes=2 zero=zero2         two processes; or torchrun --nproc_per_node=2 launch.py …
dramaeval --help                         groups, recipes, where results go
dramaeval --version                      the version
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from dramaeval import startup
from dramaeval.config import registration, schema
from dramaeval.config.config_folder import config_folder
from dramaeval.config.inheritance import inherited_run_id
from dramaeval.config.literal import folder_problem
from dramaeval.config.problems import ConfigError
from dramaeval.config.score_command import (
    with_a_run_for_each_shard,
    with_settings_of_score,
    with_settings_of_serve,
)
from dramaeval.config.secrets import mask_hydra_files
from dramaeval.config.unknown_keys import problems_of_words
from dramaeval.launch.worker import follow, follows
from dramaeval.stages.automatic_task import with_task_of_records
from dramaeval.stages.user_errors import user_facing_errors
from dramaeval.startup import accept_any_text, ensure_home
from dramaeval.version import package_version


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="launch")
def run_command(config: DictConfig) -> float | None:
    """Run one composed configuration; Hydra's sweepers use the returned objective."""
    with user_facing_errors():
        registration.require_schema(config)
    mask_hydra_files(config, HydraConfig.get())
    if schema.is_about_a_sweep(config):
        with user_facing_errors():
            startup.prepare()
            from dramaeval.launch.sweeps.command import run_sweep_command

            run_sweep_command(config)
            return None
    with user_facing_errors(Path(HydraConfig.get().runtime.output_dir)):
        startup.prepare()
        with startup.without_collections():
            from dramaeval.compat.bitsandbytes import import_without_compiler

            import_without_compiler(config)
            from dramaeval.launch.sweeps.pruning import pruning
            from dramaeval.serving.server import serve
            from dramaeval.stages.pipeline import run

        return run(config, pruning, serve)


def main() -> None:
    """Run the command line in ``sys.argv``.

    Raises:
        SystemExit: the command cannot run; the message or the exit code gives the reason.
    """
    script = Path(sys.argv[0])
    sys.argv[0] = script.name
    if sys.argv[1:] == ["--version"]:  # Hydra answers it with its own version
        print(f"dramaeval {package_version()}")
        return
    if problem := folder_problem(os.getcwd(), "The working folder"):
        raise SystemExit(problem)
    if script.suffix != ".py":
        # The console script: modules of the working folder can be imported, as with python -m.
        sys.path.insert(0, os.getcwd())
    accept_any_text()
    ensure_home()
    registration.register()
    registration.register_run_id(inherited_run_id)
    with user_facing_errors():
        if follows(sys.argv[1:]):
            follow()  # under torchrun, rank 0 composes the configuration and sends it to this process
        else:
            words = with_settings_of_serve(with_settings_of_score(sys.argv[1:]))
            sys.argv[1:] = with_a_run_for_each_shard(words)
            sys.argv[1:] = with_task_of_records(sys.argv[1:])
            if problems := problems_of_words(sys.argv[1:]):
                raise ConfigError(problems)
            run_command()
