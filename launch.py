"""The only command: compose a run from config groups, check it, carry it out.

python launch.py task=role peft=lora            fine-tune and evaluate
python launch.py plan=true                      check everything, print the plan, stop
python launch.py -m peft=lora,none seed=0,1,2   a sweep; hydra/launcher=slurm sends it to a cluster
python launch.py sweep=FOLDER resume=true       what has not finished of it; stages=[report] its table
python launch.py processes=2 zero=zero2         two processes; or torchrun --nproc_per_node=2 launch.py …
python launch.py --help                         groups, recipes, where results go
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from dramaeval import startup
from dramaeval.config import schema
from dramaeval.config.home_folder import ensure_home
from dramaeval.config.literal import folder_problem
from dramaeval.config.secrets import mask_hydra_files
from dramaeval.launch.worker import follow, follows
from dramaeval.stages.user_errors import user_facing_errors

schema.register()


@hydra.main(version_base="1.3", config_path="configs", config_name="launch")
def main(config: DictConfig) -> float | None:
    """Carry out one composed run; its objective is returned to Hydra's sweepers."""
    mask_hydra_files(config, HydraConfig.get())
    if schema.is_about_a_sweep(config):
        with user_facing_errors():
            startup.prepare()
            from dramaeval.launch.sweeps.command import run_sweep_command

            run_sweep_command(config)
            return None
    with user_facing_errors(Path(HydraConfig.get().runtime.output_dir)):
        startup.prepare()
        # Imported here, so that --help and --cfg job answer without loading torch.
        from dramaeval.stages.quantization_import import import_quantization

        import_quantization(config)
        from dramaeval.stages.pipeline import run

        return run(config)


if __name__ == "__main__":
    sys.argv[0] = "launch.py"
    if problem := folder_problem(os.getcwd(), "The working folder"):
        raise SystemExit(problem)
    ensure_home()
    with user_facing_errors():
        if follows(sys.argv[1:]):
            follow()  # torchrun: process 0 composes the run, this one takes part in it
        else:
            main()
