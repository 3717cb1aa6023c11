"""What a worker process runs: take the configuration over, do the run's work with the others.

``python -m dramaeval.launch.worker HANDED RESULT`` is started by `dramaeval.distributed.spawn`; `follow` is
what torchrun's processes other than the first do instead of composing a configuration of their own.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from dramaeval import startup
from dramaeval.config.home_folder import ensure_home
from dramaeval.distributed.folder_lock import adopt
from dramaeval.distributed.processes import process_group, started_by_launcher
from dramaeval.distributed.rank_variables import rank_problems

#: Words on the command line with which nothing is run.
_ASKING = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion",
           "-sc", "--multirun", "-m"}  # fmt: skip
_PR_SET_PDEATHSIG = 1


def follows(words: Sequence[str]) -> bool:
    """Whether this process takes its configuration from process 0, as torchrun's others do.

    Args:
        words: of the command line. Where they only ask for help there is nothing to follow.

    Raises:
        SystemExit: process 0 alone answers.
    """
    if not started_by_launcher() or os.environ["RANK"] == "0" or rank_problems(os.environ):
        return False  # what contradicts itself is refused when a run begins
    if _ASKING & set(words):
        raise SystemExit(0)
    return True


def follow() -> None:
    """Do the work that process 0 hands out."""
    startup.prepare()
    from dramaeval.launch.sweeps.pruning import pruning
    from dramaeval.stages.pipeline import run_in_process

    with process_group() as processes:
        run_in_process(None, None, processes, pruning)


def main(handed: str, result: str) -> None:
    """Carry out what was handed over; process 0 leaves what came out."""
    ensure_home()
    from dramaeval.config import schema
    from dramaeval.launch.sweeps.pruning import pruning
    from dramaeval.stages.pipeline import run_in_process
    from dramaeval.stages.user_errors import user_facing_errors

    end_with_parent()
    schema.register()
    with user_facing_errors():
        if os.environ["RANK"] != "0":
            follow()
            return
        startup.prepare()
        config, folder, token = pickle.loads(Path(handed).read_bytes())
        adopt(folder, token)
        with user_facing_errors(folder), process_group() as processes:
            came_out = run_in_process(config, folder, processes, pruning)
    unfinished = Path(result).with_suffix(".unfinished")
    unfinished.write_bytes(pickle.dumps(came_out))
    os.replace(unfinished, result)


def end_with_parent() -> None:
    """On Linux a worker ends when the process that started it is gone, even if that was killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:])
