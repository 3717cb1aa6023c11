"""The stage ``report``: compares finished runs, as a page, Markdown, CSV and JSON. No model is loaded."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.data.atomic_files import write_json_atomic, write_text_atomic
from dramaeval.evaluation.report.published_responses import has_responses, read_responses
from dramaeval.evaluation.report.published_results import read_published
from dramaeval.evaluation.report.read_results import (
    Results,
    ResultsError,
    is_run,
    read_run,
    splits_in,
)
from dramaeval.evaluation.report.side_by_side import side_by_side
from dramaeval.stages.builders import build_task
from dramaeval.stages.metrics_file import bootstrap_settings
from dramaeval.stages.run_folder import RunFolder, as_yaml

log = logging.getLogger(__name__)


def check(config: DictConfig) -> list[str]:
    """Problems of the settings of this stage."""
    if Stage.report not in config.stages:
        return ["runs=[…] is read by stages=[report] only."] if config.runs else []
    problems = [
        f"runs: {run} is neither a folder nor a file."
        for run in config.runs
        if not (path := Path(run).expanduser()).is_dir() and not path.is_file()
    ]
    if config.evaluation.convention:
        problems.append(
            "evaluation.convention is counted by runs that evaluate, from the records: leave it out with stages=[report]."
        )
    if len(config.stages) > 1:
        problems.append(
            "stages=[report] compares finished runs and is a run of its own; a run that evaluates writes its own "
            "report.html."
        )
    if not config.runs:
        problems.append("stages=[report] needs runs=[FOLDER,FOLDER,…]: the runs to compare.")
    return problems


def run(config: DictConfig, folder: RunFolder) -> None:
    """Compare ``runs=[…]``: write ``report.html``, ``comparison.md``, ``comparison.json`` and ``tables/*.csv``.

    This stage has no context, because it reads no records and needs no judge.

    Raises:
        ConfigError: a folder cannot be read, or the runs cannot be compared.
    """
    # Imported late: plots and templates take time to import.
    from dramaeval.evaluation.report import comparison_page as page
    from dramaeval.stages.report_html import write_tables

    try:
        runs = _read(config)
        comparison = side_by_side(runs, **bootstrap_settings(config))
    except ResultsError as error:
        raise ConfigError([str(error)]) from None
    write_json_atomic(folder.path / "comparison.json", asdict(comparison))
    tables = page.tables_of(comparison)
    shown, sentences = page.shown_tables(tables), page.sentences(comparison)
    write_tables(folder.path, "comparison", tables, shown, [*sentences, *comparison.notes])
    facts = [f"{len(runs)} runs", *sorted({f"split {run.split}" for run in runs if run.split})]
    html = page.render_comparison(comparison, shown, folder.path.name, facts, as_yaml(config))
    write_text_atomic(folder.report, html)
    for sentence in sentences:
        log.info("%s", sentence)
    log.info("Comparison: %s", folder.report)


def _read(config: DictConfig) -> list[Results]:
    folders = [Path(run).expanduser() for run in config.runs]
    names = short_names(folders)
    runs = [folder for folder in folders if is_run(folder)]
    split = config.report.split or _common_split(runs, config.report.phase)
    rubric = build_task(config).rubric
    read: dict[Path, Results] = {}
    responses = [folder for folder in folders if folder not in runs and has_responses(folder)]
    # Responses have no ratings, and take them from the results that have.
    for folder, name in zip(folders, names, strict=True):
        if folder in runs:
            read[folder] = read_run(folder, name, split, config.report.phase)
        elif folder not in responses:
            read[folder] = read_published(folder, name, rubric)
    rated = list(read.values())
    for folder, name in zip(folders, names, strict=True):
        if folder in responses:
            read[folder] = read_responses(folder, name, rated)
    return [read[folder] for folder in folders]


def _common_split(runs: Sequence[Path], phase: str | None) -> str:
    """Test if every run has it, else val."""
    if not runs:
        return "test"
    common = set.intersection(*(splits_in(folder, phase) for folder in runs))
    if not common:
        raise ResultsError("these runs were evaluated on no split in common.")
    return "test" if "test" in common else min(common)


def short_names(folders: Sequence[Path]) -> list[str]:
    """Different names for the folders: the last parts of their paths, as few as possible.

    Raises:
        ResultsError: a folder is named twice.
    """
    paths = [folder.resolve().parts for folder in folders]
    if len(set(paths)) < len(paths):
        raise ResultsError("runs names a folder twice.")
    depth = 1
    while True:
        names = ["/".join(parts[-depth:]) for parts in paths]
        if max(Counter(names).values()) == 1:
            return names
        depth += 1
