"""The stage ``report``: compares finished runs and writes a page, Markdown, CSV and JSON. No model is loaded."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dramaeval.config.home_folder import expand_home
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.config.task_schema import held_out_splits, test_splits
from dramaeval.data.atomic_files import write_json_atomic, write_text_atomic
from dramaeval.evaluation.drop import drops
from dramaeval.evaluation.report.published_responses import has_responses, read_responses
from dramaeval.evaluation.report.published_results import read_published
from dramaeval.evaluation.report.read_results import (
    Results,
    ResultsError,
    is_run,
    read_run,
    splits_in,
)
from dramaeval.evaluation.report.side_by_side import (
    Comparison,
    common_predictions,
    pairs_side_by_side,
    side_by_side,
)
from dramaeval.stages.builders import build_task
from dramaeval.stages.metrics_file import bootstrap_settings
from dramaeval.stages.run_folder import RunFolder, as_yaml
from dramaeval.tasks.rubric import Rubric

log = logging.getLogger(__name__)


def check(config: DictConfig) -> list[str]:
    """Problems of the settings of this stage."""
    split, problems = config.report.split, []
    if split is not None and not held_out_splits([split]):
        problems.append(
            f"report.split={split} is not a held-out split: give val, test or test_NAME."
        )
    if Stage.report not in config.stages:
        if config.runs:
            problems.append("runs=[…] is read by stages=[report] only.")
        return problems + [
            f"report.{key}=… is read by stages=[report] only."
            for key, value in config.report.items()
            if value is not None
        ]
    problems += [
        f"runs: {run} is neither a folder nor a file."
        for run in config.runs
        if not (path := expand_home(run)).is_dir() and not path.is_file()
    ]
    if config.evaluation.convention:
        problems.append(
            "evaluation.convention needs records, which stages=[report] does not read: set it in the runs that evaluate."
        )
    if len(config.stages) > 1:
        problems.append(
            "stages=[report] compares finished runs and needs a separate run; a run that evaluates writes report.html "
            "itself."
        )
    if not config.runs:
        problems.append("stages=[report] needs runs=[FOLDER,FOLDER,…]: the runs to compare.")
    return problems


def run(config: DictConfig, folder: RunFolder) -> None:
    """Compare ``runs=[…]``: write ``report.html``, ``comparison.md``, ``comparison.json`` and ``tables/*.csv``.

    If there are several named test sets, these files describe the first; each further set has ``report.<set>.html``,
    ``comparison.<set>.md`` and ``.json``, and ``tables/<set>/``. This stage has no context, because it reads no records
    and needs no judge.

    Raises:
        ConfigError: a folder cannot be read, or the runs cannot be compared.
    """
    try:
        by_split = _read(config)
        has_pairs = any(run.pairs for runs in by_split.values() for run in runs)
        compare = pairs_side_by_side if has_pairs else side_by_side
        comparisons: dict[str, Comparison] = {
            split: compare(runs, **bootstrap_settings(config)) for split, runs in by_split.items()
        }
        dimensions = list(next(iter(comparisons.values())).dimensions)
        across = {} if has_pairs else _drops(config, by_split, dimensions)
    except ResultsError as error:
        raise ConfigError(str(error)) from None
    for number, (split, comparison) in enumerate(comparisons.items()):
        _write(config, folder, split if number else "", by_split[split], comparison, across)


def _write(
    config: DictConfig,
    folder: RunFolder,
    suffix: str,
    runs: Sequence[Results],
    comparison: Comparison,
    across: Mapping[str, Any],
) -> None:
    """Write the files of one split.

    Args:
        suffix: the test set in the names of files; empty for the first test set.
        runs: the results of the runs on the split.
        comparison: the comparison of these results.
        across: by run, the drops between test sets; empty for a single test set.
    """
    # Plots and templates take time to import.
    from dramaeval.evaluation.report import comparison_page
    from dramaeval.stages.report_html import write_tables

    name = f"comparison.{suffix}" if suffix else "comparison"
    tables_folder = f"tables/{suffix}" if suffix else "tables"
    tables = comparison_page.tables_of(comparison)
    sentences = comparison_page.sentences(comparison)
    values = asdict(comparison)
    if across:
        tables["test_sets"], values["drop"] = comparison_page.test_sets(across), across
    write_json_atomic(folder.path / f"{name}.json", values)
    shown = comparison_page.shown_tables(tables, tables_folder)
    lines = [*sentences, *comparison.notes]
    write_tables(folder.path, name, tables, shown, lines, tables_folder)
    facts = [f"{len(runs)} runs", *sorted({f"split {run.split}" for run in runs if run.split})]
    html = comparison_page.render_comparison(
        comparison, shown, folder.path.name, facts, as_yaml(config)
    )
    report = folder.report.with_suffix(f".{suffix}.html") if suffix else folder.report
    write_text_atomic(report, html)
    for sentence in sentences:
        log.info("%s", f"{suffix}: {sentence}" if suffix else sentence)
    log.info("Comparison: %s", report)


def _read(config: DictConfig) -> dict[str, list[Results]]:
    """The results of all runs by split."""
    folders = [expand_home(run) for run in config.runs]
    runs = [folder for folder in folders if is_run(folder)]
    split, phase = config.report.split, config.report.phase
    rubric = build_task(config).rubric
    names = [split] if split else _common_splits(runs, phase)
    return {name: _read_split(folders, name, phase, rubric) for name in names}


def _read_split(
    folders: Sequence[Path], split: str, phase: str | None, rubric: Rubric
) -> list[Results]:
    """The results of runs, published results, and other models' responses, in the order of the folders."""
    names = short_names(folders)
    read: dict[Path, Results] = {}
    for folder, name in zip(folders, names, strict=True):
        if is_run(folder):
            read[folder] = read_run(folder, name, split, phase)
        elif not has_responses(folder):
            read[folder] = read_published(folder, name, rubric)
    rated = list(read.values())
    # Responses have no ratings and take them from the other results.
    for folder, name in zip(folders, names, strict=True):
        if folder not in read:
            read[folder] = read_responses(folder, name, rated)
    return [read[folder] for folder in folders]


def _drops(
    config: DictConfig, by_split: Mapping[str, Sequence[Results]], dimensions: Sequence[str]
) -> dict[str, Any]:
    """The drops of every run between test sets, on the records that all runs have; empty for a single test set."""
    if len(by_split) < 2:
        return {}
    common = {split: common_predictions(runs) for split, runs in by_split.items()}
    across = {}
    for run in next(iter(by_split.values())):
        predictions = {split: by_run[run.name] for split, by_run in common.items()}
        across[run.name] = drops(predictions, dimensions, **bootstrap_settings(config))
    return across


def _common_splits(runs: Sequence[Path], phase: str | None) -> list[str]:
    """The test sets that every run has, or else val."""
    if not runs:
        return ["test"]
    first, *others = [splits_in(folder, phase) for folder in runs]
    common = [split for split in first if all(split in other for other in others)]
    if not common:
        raise ResultsError("these runs were evaluated on no split in common.")
    return test_splits(common) or [min(common)]


def short_names(folders: Sequence[Path]) -> list[str]:
    """Unique names of the folders: the last parts of their paths, as few as possible.

    Raises:
        ResultsError: a folder is named twice.
    """
    paths = [folder.resolve().parts for folder in folders]
    if len(set(paths)) < len(paths):
        raise ResultsError("runs names a folder twice.")
    depth = next(
        n for n in itertools.count(1) if len({parts[-n:] for parts in paths}) == len(paths)
    )
    return ["/".join(parts[-depth:]) for parts in paths]
