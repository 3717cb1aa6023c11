"""Runs a command of launch.py and samples which part of the program it spends its time in.

    python -m benchmarks.shares OUT.json stages=[score] input=RECORDS.jsonl …

A thread looks at the main thread's calls a hundred times a second, so that the parts are hardly slower than without it.
Samples outside of `WHOLE`, such as imports and checks, are not counted.
"""

from __future__ import annotations

import json
import runpy
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[1]
#: The function whose time is divided into parts: its file in the package, and its name.
WHOLE = ("stages/score.py", "run")
#: The functions of each part. A sample belongs to the innermost of them.
PARTS = {
    ("data/audio.py", "decode"): "decoding",
    ("data/logmel.py", "__call__"): "log-mel",
    ("models/inputs/record_encoder.py", "_encode_question"): "text",
    ("tasks/task.py", "questions"): "text",
    ("models/inputs/collation.py", "collate"): "collating",
    ("models/forward/judge_model.py", "embed_clips"): "audio tower and projector",
    ("models/forward/judge_model.py", "answer_logits"): "language model",
    ("data/growing_file.py", "append"): "writing",
    ("evaluation/predictions.py", "prediction_line"): "writing",
}
OTHER = "other"
SECONDS = 0.01
PACKAGE = f"{ROOT / 'dramaeval'}/"


def part_of(frame: FrameType | None) -> str | None:
    """The part of the program to which a call belongs; None if the call is not inside the function `WHOLE`."""
    part = OTHER
    while frame is not None:
        place = (frame.f_code.co_filename.removeprefix(PACKAGE), frame.f_code.co_name)
        if place == WHOLE:
            return part
        if part == OTHER:
            part = PARTS.get(place, OTHER)
        frame = frame.f_back
    return None


def sample(counts: Counter[str], end: threading.Event, thread: int) -> None:
    """Count the samples of each part until ``end`` is set."""
    while not end.is_set():
        if part := part_of(sys._current_frames().get(thread)):
            counts[part] += 1
        time.sleep(SECONDS)


def main() -> None:
    """Run the command, and write the share of each part."""
    out, words = Path(sys.argv[1]), sys.argv[2:]
    sys.argv = ["launch.py", *words]
    counts: Counter[str] = Counter()
    end = threading.Event()
    arguments = (counts, end, threading.get_ident())
    thread = threading.Thread(target=sample, args=arguments, daemon=True)
    thread.start()
    try:
        runpy.run_path(str(ROOT / "launch.py"), run_name="__main__")
    finally:
        end.set()
        thread.join()
        total = counts.total()
        shares = {name: count / total for name, count in counts.most_common()}
        out.write_text(json.dumps(shares), encoding="utf-8")


if __name__ == "__main__":
    main()
