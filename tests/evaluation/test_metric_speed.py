"""2,000 draws for 10,000 records × 10 dimensions: under a minute and 2 GB on two cores."""

import json
import os
import subprocess
import sys
from pathlib import Path

import dramaeval


def test_a_full_evaluation_is_quick_and_small() -> None:
    # A process of its own, so that the peak is not that of the other tests. One thread: a second
    # gains nothing on these matrices, and on a busy machine the two wait for each other.
    root = str(Path(dramaeval.__file__).parents[1])
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    run = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("speed_of_metrics.py"))],
        env={**os.environ, **threads, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    # The time of the processor: another program on the machine does not count.
    assert found["processor_seconds"] < 60
    assert found["peak_mib"] < 2048
    for name in ("pearson", "spearman", "mse"):
        value, low, high = found[name]
        assert low < value < high
