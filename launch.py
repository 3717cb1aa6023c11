"""The only command: compose a run from config groups, check it, carry it out.

python launch.py task=role peft=lora            fine-tune and evaluate
python launch.py plan=true                      check everything, print the plan, stop
python launch.py -m peft=lora,none seed=0,1,2   a sweep
python launch.py --help                         groups, recipes, where results go
"""

from __future__ import annotations

import sys

import hydra
from omegaconf import DictConfig

from dramaeval.config import schema

schema.register()


@hydra.main(version_base="1.3", config_path="configs", config_name="launch")
def main(config: DictConfig) -> float | None:
    """Carry out one composed run; its objective is returned to Hydra's sweepers."""
    # Imported here, so that --help and --cfg job answer without loading torch.
    from dramaeval.config.check import ConfigError
    from dramaeval.data.problems import BadRecordsError
    from dramaeval.models.loading import ModelError
    from dramaeval.models.trouble import TroubleError
    from dramaeval.run.run import carry_out

    try:
        return carry_out(config)
    except (BadRecordsError, ConfigError, ModelError, TroubleError) as error:
        # What the user can mend is said in words; everything else keeps its traceback.
        raise SystemExit(f"\n{error}") from None


if __name__ == "__main__":
    sys.argv[0] = "launch.py"
    main()
