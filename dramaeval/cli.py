"""The command ``dramaeval`` and launch.py: composes a run from config groups, then runs it or its sweep."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from dramaeval import startup
from dramaeval.config import schema
from dramaeval.config.composition import config_folder
from dramaeval.config.home_folder import ensure_home
from dramaeval.config.literal import folder_problem
from dramaeval.config.secrets import mask_hydra_files
from dramaeval.launch.worker import follow, follows
from dramaeval.stages.user_errors import user_facing_errors

# Torch and all that imports it are imported below, where a run begins: --help and --cfg job do not need them.

schema.register()


@hydra.main(version_base="1.3", config_path=str(config_folder()), config_name="launch")
def _run_composed(config: DictConfig) -> float | None:
    """Run one composed configuration; Hydra's sweepers take the result as its objective."""
    mask_hydra_files(config, HydraConfig.get())
    if schema.is_about_a_sweep(config):
        with user_facing_errors():
            startup.prepare()
            from dramaeval.launch.sweeps.command import run_sweep_command

            run_sweep_command(config)
            return None
    with user_facing_errors(Path(HydraConfig.get().runtime.output_dir)):
        startup.prepare()
        from dramaeval.compat.bitsandbytes import import_without_compiler

        import_without_compiler(config)
        from dramaeval.launch.sweeps.pruning import pruning
        from dramaeval.stages.pipeline import run

        return run(config, pruning)


def main() -> None:
    """Run the command line.

    Raises:
        SystemExit: with the codes that `dramaeval.errors` lists.
    """
    if problem := folder_problem(os.getcwd(), "The working folder"):
        raise SystemExit(problem)
    if Path(sys.argv[0]).name == "dramaeval":
        # The user's own classes are imported from the working folder, as with python -m and beside launch.py.
        sys.path[0] = os.getcwd()
    ensure_home()
    with user_facing_errors():
        if follows(sys.argv[1:]):
            follow()  # a process of torchrun: rank 0 composes the run
        else:
            _run_composed()
