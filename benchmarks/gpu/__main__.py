"""Measures the 7B's true size on one GPU of 80 GB or more, within 8 minutes and without a network.

    python -m benchmarks.gpu                      # every section that is not done; a second call continues
    python -m benchmarks.gpu --only lora peers    # these sections
    python -m benchmarks.gpu --dry                # on a CPU at tiny sizes: a test of the script, no measurement

The weights are random and drawn on the card. Results and page are written after each section.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ZERO = ("zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")
PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "deepspeed", "bitsandbytes")
#: What every section that trains or composes a run imports.
RUN = (
    "hydra",
    "omegaconf",
    "soundfile",
    "soxr",
    "peft",
    "accelerate",
    "trl",
    "datasets",
    "xxhash",
    "psutil",
)
HEAD = """# The true size on a GPU

Written by `python -m benchmarks.gpu`; see [its description](../benchmarks/README.md#on-a-gpu). One GPU, random weights of
Qwen2-Audio-7B's size that are drawn on the card; `full` and the ZeRO stages have the true width and 4 of 32 layers.

"""


def sections(session: Any) -> list[Any]:
    """All sections, the most important first; the seconds are estimates for an H100."""
    from benchmarks.gpu import attention, card, judge
    from benchmarks.sections import Section

    def section(name: str, function: Any, seconds: float, *needs: str) -> Section:
        about = (function.__doc__ or "").splitlines()[0]
        return Section(
            name=name, about=about, run=partial(function, session), seconds=seconds, needs=needs
        )

    return [
        section("card", card.card, 5),
        section("attention", attention.attention, 40),
        section("parity", card.parity, 25, *RUN),
        section("lora", judge.lora, 25, *RUN),
        section("scoring", judge.scoring, 35, *RUN),
        section("peers", judge.peers, 60, *RUN),
        section("checkpointing", judge.checkpointing, 25, *RUN),
        section("loading", judge.loading, 25, *RUN),
        section("out_of_memory", judge.out_of_memory, 15, *RUN),
        section("full", judge.full, 20, *RUN),
        section("grpo", judge.grpo, 25, *RUN),
        section("compile", judge.compiled, 60, *RUN),
        section("qlora", judge.qlora, 70, *RUN, "bitsandbytes"),
        *(
            Section(
                name=name,
                about=f"Full training with `zero={name}` and one process, true width and cut depth.",
                run=partial(_zero, session, name),
                seconds=35,
                needs=(*RUN, "deepspeed"),
            )
            for name in ZERO
        ),
    ]


def _zero(session: Any, name: str) -> Any:
    from benchmarks.gpu.judge import zero
    from benchmarks.sections import Figure

    if name.endswith("_offload") and session.device.type != "cuda":
        return [Figure(name="not run", value="needs a GPU to offload from")]
    return zero(session, name)


def surroundings() -> dict[str, Any]:
    """Date, card and versions."""
    import torch

    found = {"date": time.strftime("%Y-%m-%d %H:%M")}
    if torch.cuda.is_available():
        found["card"] = torch.cuda.get_device_name()
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> int:
    """Run the selected sections; returns 1 if one failed, or if there is no GPU."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--only", nargs="+", metavar="SECTION", help="these sections")
    parser.add_argument("--again", action="store_true", help="also sections that are done")
    parser.add_argument("--limit", type=float, default=470, help="seconds of this call")
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "gpu")
    parser.add_argument("--page", type=Path, help="the page; its figures are beside it as JSON")
    parser.add_argument("--child", choices=ZERO, help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Sections of different sizes follow each other in one process.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    if given.dry:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""

    import torch

    from benchmarks.gpu.session import Session
    from benchmarks.page import write_with_remarks
    from benchmarks.sections import FAILED, run_all, table

    if not given.dry and not torch.cuda.is_available():
        print("PyTorch sees no GPU here. A test of the script on the CPU: --dry", file=sys.stderr)
        return 1
    logging.getLogger("dramaeval").setLevel(logging.WARNING)
    folder = given.folder.absolute() / ("dry" if given.dry else "card")
    if given.child:
        folder = given.folder
    session = Session(folder, torch.device("cpu" if given.dry else "cuda"), dry=given.dry)
    if given.child:
        from benchmarks.gpu.judge import zero_inside

        figures = [asdict(figure) for figure in zero_inside(session, given.child)]
        print("FIGURES " + json.dumps(figures), flush=True)
        return 0
    every = sections(session)
    unknown = set(given.only or ()) - {section.name for section in every}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; valid are "
                     f"{', '.join(section.name for section in every)}")  # fmt: skip
    page = given.page or (folder / "gpu.md" if given.dry else ROOT / "docs" / "gpu.md")
    kept = run_all(
        [section for section in every if not given.only or section.name in given.only],
        page.with_suffix(".json"),
        lambda results: write_with_remarks(page, HEAD + table(results, every)),
        around=surroundings,
        limit=None if given.dry else given.limit,
        again=given.again,
    )
    return int(any(section["state"] == FAILED for section in kept.values()))


if __name__ == "__main__":
    sys.exit(main())
