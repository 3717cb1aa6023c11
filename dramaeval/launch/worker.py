"""The worker processes of a run with several processes.

`dramaeval.distributed.spawn` starts ``python -m dramaeval.launch.worker INPUTS RESULT``. Under torchrun the processes
other than rank 0 call `follow` instead of composing a configuration.
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
from dramaeval.distributed.folder_lock import adopt
from dramaeval.distributed.processes import (
    launched_as_rank_zero,
    process_group,
    started_by_launcher,
)
from dramaeval.distributed.rank_variables import rank_problems
from dramaeval.startup import accept_any_text, ensure_home

#: Options of the command line that start no run.
_NO_RUN = {"--help", "-h", "--hydra-help", "--version", "--cfg", "-c", "--info", "-i", "--shell-completion",
           "-sc", "--multirun", "-m"}  # fmt: skip
_PR_SET_PDEATHSIG = 1


def follows(words: Sequence[str]) -> bool:
    """Whether this process receives its configuration from rank 0, as under torchrun.

    Args:
        words: the words of the command line.

    Raises:
        SystemExit: the command line starts no run, and only rank 0 answers it.
    """
    if not started_by_launcher() or launched_as_rank_zero() or rank_problems(os.environ):
        return False  # contradictory variables are reported when the run begins
    if _NO_RUN & set(words):
        raise SystemExit(0)
    return True


def follow() -> None:
    """Run the stages with the configuration that rank 0 sends."""
    startup.prepare()
    from dramaeval.launch.sweeps.pruning import pruning
    from dramaeval.stages.pipeline import run_in_process

    with process_group() as processes:
        run_in_process(None, None, processes, pruning)


def main(inputs: str, result: str) -> None:
    """Run the stages in one worker process.

    Args:
        inputs: a pickle file with the configuration, the run folder and the token of the folder's lock.
        result: the pickle file to which rank 0 writes the objective.
    """
    accept_any_text()
    ensure_home()
    with startup.without_collections():
        from dramaeval.config import registration
        from dramaeval.launch.sweeps.pruning import pruning
        from dramaeval.stages.pipeline import run_in_process
        from dramaeval.stages.user_errors import user_facing_errors

    end_with_parent()
    registration.register()
    with user_facing_errors():
        if not launched_as_rank_zero():
            follow()
            return
        startup.prepare()
        config, folder, token = pickle.loads(Path(inputs).read_bytes())
        adopt(folder, token)
        with user_facing_errors(folder), process_group() as processes:
            objective = run_in_process(config, folder, processes, pruning)
    unfinished = Path(result).with_suffix(".unfinished")
    unfinished.write_bytes(pickle.dumps(objective))
    os.replace(unfinished, result)


def end_with_parent() -> None:
    """Make Linux send SIGTERM to this process when its parent ends, even if the parent is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:])
