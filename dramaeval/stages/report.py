"""The stage ``report``: finished runs side by side, as a page, Markdown, CSV and JSON. No model is loaded."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from dramaeval.config.problems import ConfigError
from dramaeval.data.atomic_files import write_json_atomic, write_text_atomic
from dramaeval.evaluation.report.comparison_page import (
    render_comparison,
    sentences,
    shown_tables,
    tables_of,
)
from dramaeval.evaluation.report.read_results import (
    Results,
    ResultsError,
    is_run,
    read_published,
    read_run,
    splits_in,
)
from dramaeval.evaluation.report.side_by_side import side_by_side
from dramaeval.stages.builders import build_task
from dramaeval.stages.run_folder import RunFolder, as_yaml
from dramaeval.stages.run_report import write_tables

log = logging.getLogger(__name__)


def compare_runs(config: DictConfig, folder: RunFolder) -> None:
    """Compare ``runs=[…]`` and write ``report.html``, ``comparison.md``, ``.json`` and ``tables/*.csv``.

    Raises:
        ConfigError: a folder cannot be read, or the runs cannot be compared.
    """
    try:
        runs = _read(config)
        found = side_by_side(
            runs,
            seed=config.seed,
            draws=config.evaluation.draws,
            level=config.evaluation.level,
        )
    except ResultsError as error:
        raise ConfigError([str(error)]) from None
    write_json_atomic(folder.path / "comparison.json", asdict(found))
    tables = tables_of(found)
    shown = shown_tables(tables)
    said = [*sentences(found), *found.notes]
    write_tables(folder.path, "comparison", tables, shown, said)
    facts = [f"{len(runs)} runs", *sorted({f"split {run.split}" for run in runs if run.split})]
    page = render_comparison(found, shown, folder.path.name, facts, as_yaml(config))
    write_text_atomic(folder.report, page)
    for sentence in sentences(found):
        log.info("%s", sentence)
    log.info("Comparison: %s", folder.report)


def _read(config: DictConfig) -> list[Results]:
    folders = [Path(run).expanduser() for run in config.runs]
    names = names_of(folders)
    runs = [folder for folder in folders if is_run(folder)]
    split = config.report.split or _common_split(runs, config.report.phase)
    rubric = build_task(config).rubric
    return [
        read_run(folder, name, split, config.report.phase)
        if folder in runs
        else read_published(folder, name, rubric)
        for folder, name in zip(folders, names, strict=True)
    ]


def _common_split(runs: Sequence[Path], phase: str | None) -> str:
    """Test where every run has it, else val."""
    if not runs:
        return "test"
    common = set.intersection(*(splits_in(folder, phase) for folder in runs))
    if not common:
        raise ResultsError("these runs were evaluated on no split in common.")
    return "test" if "test" in common else min(common)


def names_of(folders: Sequence[Path]) -> list[str]:
    """Short names that tell the folders apart: their last parts, as few as will do.

    Raises:
        ResultsError: a folder is given twice.
    """
    whole = [folder.resolve().parts for folder in folders]
    if len(set(whole)) < len(whole):
        raise ResultsError("runs names a folder twice.")
    depth = 1
    while True:
        names = ["/".join(parts[-depth:]) for parts in whole]
        if max(Counter(names).values()) == 1:
            return names
        depth += 1
