"""Writes the page of results from the measured figures."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.timing import OURS, Row

if TYPE_CHECKING:
    from benchmarks.peers import Peer

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "librosa", "numpy")
HEAD = """# Benchmarks

Written by `python -m benchmarks.run`; see [its description](../benchmarks/README.md). The programs that are compared took
turns (A B A B) with the same weights, records, prompts and number of threads, in float32. A figure is the median over
the rounds. The ratio compares dramaeval with the fastest of the others: the median of the rounds' ratios, with the
smallest and the largest. Above 1, dramaeval is faster or needs less memory. "Wanted" is the goal for the ratio.

"""


def line(row: Row) -> str:
    """One row as a line for the terminal."""
    figures = ", ".join(f"{name} {row.median(name):.4g}" for name in row.rounds)
    against = "" if row.ratio is None else f": {row.ratio:.2f} times"
    wanted = "" if row.target is None else f" (wanted {row.target:g})"
    facts = "".join(f"; {key} {value}" for key, value in row.facts.items())
    return f"{row.work}, {row.unit}: {figures}{against}{wanted}{facts}"


def surroundings(peers: Sequence[Peer] = ()) -> dict[str, Any]:
    """Versions, machine and threads, and the versions of the peers that take part."""
    import torch

    return {
        "versions": {name: version(name) for name in PACKAGES},
        "peers": {peer.name: peer.found for peer in peers},
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "processor": _processor(),
        "scheduling": {0: "normal", 1: "first in, first out", 2: "round robin, real time"}.get(
            os.sched_getscheduler(0), "other"
        ),
    }


def _processor() -> str:
    for text in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return platform.processor()


def write(page: Path, kept: Mapping[str, Any]) -> None:
    """Write the page from the latest figures of all sections."""
    text = (
        HEAD + "| work | dramaeval | others | ratio | wanted |\n| --- | --- | --- | --- | --- |\n"
    )
    for section in kept.values():
        for values in section["rows"]:
            text += _table_line(Row(**values))
    text += "\n## Notes\n\n"
    for section in kept.values():
        for values in section["rows"]:
            row = Row(**values)
            facts = "; ".join(f"{key} {value}" for key, value in row.facts.items())
            note = "; ".join(part for part in (row.note, facts) if part)
            if note:
                text += f"- {row.work}: {note}.\n"
    text += "\n## How it was run\n\n| section | command | when | threads | load | versions |\n"
    text += "| --- | --- | --- | --- | --- | --- |\n"
    for name, section in kept.items():
        around = section["surroundings"]
        versions = ", ".join(f"{key} {value}" for key, value in around["versions"].items())
        text += (
            f"| {name} | `{section['command']}` | {section['date']} | {around['threads']} of "
            f"{around['cores']} cores, {around['scheduling']} | {section['load'][0]:g} | {versions} |\n"
        )
    processor = {section["surroundings"]["processor"] for section in kept.values()}
    for peer, versions in _peers(kept).items():
        text += f"\n{peer}'s environment: {versions}.\n"
    text += f"\nProcessor: {', '.join(sorted(processor))}.\n"
    write_with_remarks(page, text)


def mean_text(values: Sequence[float | None]) -> str:
    """The mean of the values that are known, to three digits."""
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.3f}" if known else "-"


def interval_text(bounds: Sequence[float] | None) -> str:
    """An interval in brackets; empty where there is none."""
    return f"[{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else ""


def write_with_remarks(page: Path, text: str) -> None:
    """Write a page, followed by the remarks in ``NAME_remarks.md`` beside it, which are written by hand."""
    remarks = page.with_name(f"{page.stem}_remarks.md")
    if remarks.is_file():
        text = f"{text.rstrip()}\n\n{remarks.read_text('utf-8')}"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")


def measure_by_name(
    about: str | None,
    names: Iterable[str],
    measure: Callable[[str], Any],
    text: Callable[[dict[str, Any]], str],
    page: Path,
) -> None:
    """Measure the parts that the command line names; results and page are written after each.

    Args:
        about: the description of the command.
        names: all parts; without ``--only`` each is measured.
        measure: measures one part, as JSON.
        text: the page of all results so far.
        page: its file, unless ``--out`` names another; the results are in the JSON file beside it.
    """
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(names), default=list(names))
    parser.add_argument("--out", type=Path, default=page)
    given = parser.parse_args()
    results = given.out.with_suffix(".json")
    kept = json.loads(results.read_text("utf-8")) if results.is_file() else {}
    for name in given.only:
        kept[name] = measure(name)
        print(name, kept[name], flush=True)
        results.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        write_with_remarks(given.out, text(kept))


def _peers(kept: Mapping[str, Any]) -> dict[str, str]:
    """The versions in the environment of each peer that took part in a section."""
    return {
        peer: ", ".join(f"{key} {value}" for key, value in versions.items())
        for section in kept.values()
        for peer, versions in section["surroundings"].get("peers", {}).items()
    }


def _table_line(row: Row) -> str:
    others = "<br>".join(f"{name} {row.median(name):.4g}" for name in row.rounds if name != OURS)
    ratio = ""
    if row.ratio is not None:
        ratio = f"**{row.ratio:.2f}** ({min(row.ratios):.2f}-{max(row.ratios):.2f})"
    target = "" if row.target is None else f"{row.target:g}"
    own = f"{statistics.median(row.rounds[OURS]):.4g} {row.unit}"
    return f"| {row.work} | {own} | {others} | {ratio} | {target} |\n"
