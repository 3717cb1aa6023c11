"""Sections of a long measurement that can be resumed: they have a time limit, and results and page are written after each.

The results are one JSON file. A section that is in it as done is not run again; a failed one is, and a failure does not
stop the sections after it.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DONE, FAILED, SKIPPED = "done", "failed", "skipped"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured value; ``note`` says what it is compared with."""

    name: str
    value: float | int | str | bool
    unit: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a measurement.

    Attributes:
        name: for the command line and the results.
        about: what is measured, as one sentence.
        run: measures it.
        seconds: expected time, for the limit.
        needs: packages without which it is skipped.
    """

    name: str
    about: str
    run: Callable[[], Iterable[Figure]]
    seconds: float = 30.0
    needs: Sequence[str] = ()


def run_all(
    sections: Sequence[Section],
    results: Path,
    write_page: Callable[[dict[str, Any]], None],
    *,
    around: Callable[[], dict[str, Any]],
    limit: float | None = None,
    again: bool = False,
) -> dict[str, Any]:
    """Run the sections that are not done; returns all results, those of earlier calls included.

    Args:
        sections: in order.
        results: the JSON file.
        write_page: writes the page from the results.
        around: the machine and the versions, noted with each section.
        limit: seconds for this call; a section that would probably exceed them is left for the next one, and one that
            does exceed them fails.
        again: whether sections that are done are run once more.
    """
    began = time.monotonic()
    kept: dict[str, Any] = json.loads(results.read_text("utf-8")) if results.is_file() else {}
    for section in sections:
        if kept.get(section.name, {}).get("state") == DONE and not again:
            print(f"{section.name}: done before", flush=True)
            continue
        left = None if limit is None else limit - (time.monotonic() - began)
        if left is not None and left < section.seconds:
            print(f"{section.name}: {left:.0f} s are left; call again to go on", flush=True)
            continue
        kept[section.name] = {"about": section.about, "around": around(), **_run(section, left)}
        results.parent.mkdir(parents=True, exist_ok=True)
        unfinished = results.with_suffix(".part")
        unfinished.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        os.replace(unfinished, results)
        write_page(kept)
    return kept


@contextmanager
def _within(seconds: float | None) -> Iterator[None]:
    """Raise TimeoutError in this block after some seconds; None for no limit. In the main thread only."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"stopped after {seconds:.1f} s, at the limit of this call")

    if seconds is None:
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _run(section: Section, left: float | None) -> dict[str, Any]:
    missing = [name for name in section.needs if find_spec(name) is None]
    if missing:
        print(f"{section.name}: skipped, {', '.join(missing)} is not installed", flush=True)
        return {"state": SKIPPED, "why": f"{', '.join(missing)} is not installed", "figures": []}
    began, figures, outcome = time.monotonic(), [], {"state": DONE}
    try:
        with _within(left):
            for figure in section.run():
                figures.append(asdict(figure))
                print(f"{section.name}: {line(figure)}", flush=True)
    except Exception as error:  # noqa: BLE001 - the sections after it are measured all the same, and the page has it
        outcome = {"state": FAILED, "why": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
        traceback.print_exc()
        # Its frames hold models.
        traceback.clear_frames(error.__traceback__)
    release()
    took = round(time.monotonic() - began, 1)
    print(f"{section.name}: {outcome['state']} in {took:.0f} s", flush=True)
    return {**outcome, "seconds": took, "figures": figures}


def release() -> None:
    """Free the memory of models that are no longer used."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def line(figure: Figure) -> str:
    """A figure as text."""
    value = figure.value if isinstance(figure.value, str | bool) else f"{figure.value:.4g}"
    note = f" ({figure.note})" if figure.note else ""
    return f"{figure.name} {value} {figure.unit}".rstrip() + note


def table(kept: dict[str, Any], sections: Sequence[Section]) -> str:
    """The results as Markdown; sections without results are "not run"."""
    text = ""
    for section in sections:
        found = kept.get(section.name)
        text += f"## {section.name}\n\n{section.about}\n\n"
        if found is None:
            text += "Not run.\n\n"
            continue
        if found["figures"]:
            text += "| figure | value | unit | note |\n| --- | --- | --- | --- |\n"
        for values in found["figures"]:
            figure = Figure(**values)
            value = figure.value if isinstance(figure.value, str | bool) else f"{figure.value:.4g}"
            text += f"| {figure.name} | {value} | {figure.unit} | {figure.note} |\n"
        text += "\n" if found["figures"] else ""
        if found["state"] != DONE:
            text += f"**{found['state'].capitalize()}**: {found['why']}.\n\n"
        surroundings = ", ".join(f"{key} {value}" for key, value in found["around"].items())
        seconds = f"{found['seconds']:g} s; " if "seconds" in found else ""
        text += f"{seconds}{surroundings}.\n\n"
    return text.rstrip() + "\n"
