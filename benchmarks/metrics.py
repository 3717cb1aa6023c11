"""Measures the time of a complete evaluation: `python benchmarks/metrics.py [records [clusters]]`.

Prints one line of JSON: seconds of `summarise` with 2,000 draws over 10 dimensions (wall time and processor time), and the
peak memory of the process in MiB. The exit code is 1 if they exceed 60 s or 2 GB. Without CLUSTERS every record is a
cluster, which is the slowest case. Set OMP_NUM_THREADS=1: a second thread gains nothing on these matrices, and on a busy
machine two threads wait for each other.
"""

import json
import resource
import sys
import time

import numpy as np

from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.summary import summarise

DIMENSIONS = [f"dimension_{number}" for number in range(10)]
MOST_SECONDS, MOST_MIB = 60, 2048
SCALE = (1.0, 2.0, 3.0, 4.0, 5.0)


def predictions(records: int, clusters: int | None) -> list[Prediction]:
    """Predictions of a moderately good judge, with six raters and a tenth of the ratings missing."""
    generator = np.random.default_rng(0)
    made = []
    for dimension in DIMENSIONS:
        truth = generator.normal(size=records)
        people = np.rint(3 + truth[:, None] + generator.normal(size=(records, 6)))
        gone = generator.random(people.shape) < 0.1
        ratings = np.clip(people, 1, 5).astype(object)
        ratings[gone] = None
        centre = 3 + truth / 2 + generator.normal(size=(records,)) / 2
        weights = np.exp(-((np.array(SCALE) - centre[:, None]) ** 2))
        distributions = weights / weights.sum(axis=1, keepdims=True)
        expected = distributions @ np.array(SCALE)
        made += [
            Prediction(
                id=f"clip-{row}",
                dimension=dimension,
                scale=SCALE,
                distribution=tuple(distributions[row].tolist()),
                expected=float(expected[row]),
                ratings=tuple(ratings[row].tolist()),
                state="scored",
                group=f"character {row % clusters}" if clusters else None,
            )
            for row in range(records)
        ]
    return made


if __name__ == "__main__":
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    clusters = int(sys.argv[2]) if len(sys.argv) > 2 else None
    made = predictions(records, clusters)
    start, processors = time.perf_counter(), time.process_time()
    summary = summarise(made, DIMENSIONS, seed=0)
    seconds, processors = time.perf_counter() - start, time.process_time() - processors
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    macro = summary["macro"]
    print(
        json.dumps(
            {
                "records": records,
                "seconds": round(seconds, 1),
                "processor_seconds": round(processors, 1),
                "peak_mib": round(peak),
                "pearson": [macro["pearson"], *macro["interval"]["pearson"]],
                "spearman": [macro["spearman"], *macro["interval"]["spearman"]],
                "mse": [macro["mse"], *macro["interval"]["mse"]],
            }
        )
    )
    sys.exit(seconds >= MOST_SECONDS or peak >= MOST_MIB)
