"""Measures dramaeval and other programs for the same work, and writes docs/benchmarks.md.

    python -m benchmarks.run                       # everything
    python -m benchmarks.run --only scoring memory # these sections; the others keep their last figures
    python -m benchmarks.run --quick               # two short rounds, which are printed and not saved
    python -m benchmarks.run --real REAL JUDGES    # the section real_judge too

See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import sys
import time
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: The functions of each section; they are imported when the section is selected.
SECTIONS = {
    "audio": ("benchmarks.audio:log_mel",),
    "scoring": (
        "benchmarks.scoring:context_first",
        "benchmarks.scoring:rubric_first",
        "benchmarks.scoring:published_order",
    ),
    "training": (
        "benchmarks.training:context_first",
        "benchmarks.training:rubric_first",
        "benchmarks.training:one_question",
    ),
    "plain_steps": ("benchmarks.training:plain_steps",),
    "loading": ("benchmarks.loading:beside",),
    "grpo": ("benchmarks.grpo_step:midsize", "benchmarks.grpo_step:tiny"),
    "second_epoch": ("benchmarks.second_epoch:frozen_tower",),
    "memory": ("benchmarks.memory:full_step",),
    "start": ("benchmarks.start:first_step", "benchmarks.start:reading"),
    "machine": ("benchmarks.machine:share",),
    "operations": ("benchmarks.operations:counted",),
    "real_judge": (
        "benchmarks.real_judge:training",
        "benchmarks.real_judge:scoring",
        "benchmarks.real_judge:share",
    ),
}


def main() -> None:
    """Run the selected sections."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS)
    parser.add_argument(
        "--real",
        type=Path,
        nargs=2,
        metavar=("REAL", "JUDGES"),
        help="folders of real speech and of judges of real weights, for the section real_judge",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two short rounds, to test that everything runs; writes nothing",
    )
    parser.add_argument(
        "--together",
        action="store_true",
        help="measure dramaeval, plain transformers and TRL in one process",
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "benchmarks")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "benchmarks.md")
    parser.add_argument("--rounds", type=int, default=5, help="counted turns of each contender")
    parser.add_argument("--steps", type=int, default=3, help="timed optimizer steps in a turn")
    given = parser.parse_args()
    from benchmarks.bench import Bench
    from benchmarks.page import line, surroundings, write
    from benchmarks.peers import installed

    logging.getLogger("dramaeval").setLevel(logging.WARNING)
    bench = Bench(
        given.folder.absolute(),
        quick=given.quick,
        rounds=2 if given.quick else given.rounds,
        steps=1 if given.quick else given.steps,
        together=given.together,
        real=tuple(folder.absolute() for folder in given.real or ()),
    )
    sections = given.only or [name for name in SECTIONS if name != "real_judge" or given.real]
    if "real_judge" in sections and not given.real:
        parser.error("the section real_judge needs --real REAL JUDGES")
    for section in sections:
        rows, began = [], time.time()
        for name in SECTIONS[section]:
            module, function = name.split(":")
            for row in getattr(import_module(module), function)(bench):
                print(line(row), flush=True)
                rows.append(row)
        if given.quick:
            continue
        took_part = [
            peer
            for peer in installed(bench.folder, bench.folder / "midsize")
            if any(peer.name in row.rounds for row in rows)
        ]
        results = given.page.with_suffix(".json")
        kept = json.loads(results.read_text("utf-8")) if results.is_file() else {}
        kept[section] = {
            "rows": [row.to_json() for row in rows],
            "surroundings": surroundings(took_part),
            "command": shlex.join(["python", "-m", "benchmarks.run", *sys.argv[1:]]),
            "date": time.strftime("%Y-%m-%d %H:%M", time.localtime(began)),
            "load": [round(one, 2) for one in os.getloadavg()],
        }
        results.parent.mkdir(exist_ok=True)
        results.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        write(given.page, kept)


if __name__ == "__main__":
    main()
