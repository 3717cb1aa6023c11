"""The command ``dramaeval`` in a checkout: compose a run from config groups, check it, run it.

python launch.py task=role peft=lora            fine-tune and evaluate
python launch.py plan=true                      check everything, print the plan, stop
python launch.py -m peft=lora,none seed=0,1,2   a sweep; hydra/launcher=slurm sends it to a cluster
python launch.py sweep=FOLDER resume=true       run what is not finished; stages=[report] prints its table
python launch.py processes=2 zero=zero2         two processes; or torchrun --nproc_per_node=2 launch.py …
python launch.py --help                         groups, recipes, where results go
"""

from __future__ import annotations

import sys

from dramaeval.cli import main

if __name__ == "__main__":
    sys.argv[0] = "launch.py"
    main()
