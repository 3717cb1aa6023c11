"""The stage ``import``: converts rated speech into records, split files, a draft rubric and a card; loads no model.

The module cannot be named ``import``, which is a Python keyword.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.config_folder import command_name
from dramaeval.config.home_folder import expand_home
from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.data.atomic_files import write_text_atomic
from dramaeval.data.splitting import SHARES, SplitError, split_file
from dramaeval.importing import settings as importer_settings
from dramaeval.importing.card import card_text
from dramaeval.importing.draft_rubric import cannot_train, rubric_text, rubric_values, task_text
from dramaeval.importing.importer import (
    Imported,
    read_import,
    records_text,
    write_own_splits,
)
from dramaeval.stages.run_folder import RunFolder

log = logging.getLogger(__name__)

RECORDS, CARD = "records.jsonl", "card.md"
#: Texts that the draft task uses in its context if every record has them.
_CONTEXT = ("char_profile", "local_scene", "transcript")


def check(config: DictConfig) -> list[str]:
    """Problems of the settings of this stage."""
    importer = config.importer
    if Stage["import"] not in config.stages:
        return ["importer.file=… is read by stages=[import] only."] if importer.file else []
    problems = []
    if len(config.stages) > 1:
        problems.append(
            "stages=[import] needs a separate run: train on its records in a second run."
        )
    if importer.file is None:
        problems.append(
            "stages=[import] needs importer.file=PATH: the table, archive or folder with the ratings."
        )
    if importer.output and (expand_home(importer.output) / RECORDS).exists():
        problems.append(
            f"importer.output={importer.output} holds {RECORDS} already: choose another folder, or delete it."
        )
    if importer.file:
        settings: Any = OmegaConf.to_object(importer)
        problems += importer_settings.problems(settings)
    if any(share <= 0 for share in importer.splits.values()):
        problems.append(
            "importer.splits has a share that is not above 0: give {train: 0.8, test: 0.2}."
        )
    return problems


def run(config: DictConfig, folder: RunFolder) -> None:
    """Import the source of ``importer``.

    Raises:
        ConfigError: the folder already holds imported records.
        BadSourceError: lists every problem of the source.
    """
    settings: Any = OmegaConf.to_object(config.importer)
    output = expand_home(settings.output) if settings.output else folder.path
    if (output / RECORDS).exists():
        raise ConfigError(f"{output} holds {RECORDS} already: choose another hydra.run.dir=…")
    imported = read_import(settings, output / "clips")
    log.info("%s rows of %s, read as:", f"{imported.rows:,}", settings.file)
    for line in imported.meaning.lines():
        log.info("  %s", line)
    output.mkdir(parents=True, exist_ok=True)
    write_text_atomic(output / RECORDS, records_text(imported.records), verbatim=True)
    files = _split(imported, settings, output, config.seed)
    rubric = rubric_values(imported.name, settings.language, imported.dimensions)
    reasons = cannot_train(rubric, imported.records)
    paths = {split: str(path.absolute()) for split, path in files.items()}
    shared = [key for key in _CONTEXT if all(key in record for record in imported.records)]
    counts = {name: path.read_bytes().count(b"\n") for name, path in files.items()}
    texts = {output / CARD: card_text(imported, settings, counts, reasons)}
    if imported.dimensions:
        name = f"{imported.name}.yaml"
        texts[output / "task" / "rubric" / name] = rubric_text(rubric)
        texts[output / "task" / name] = task_text(imported.name, shared, paths)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(path, text, verbatim=True)
    _report(imported, output, files, reasons)


def _split(
    imported: Imported, settings: ImporterConfig, output: Path, seed: int
) -> Mapping[str, Path]:
    """Write a file for each split: the splits of the source, or new splits with about the given shares."""
    if any(imported.splits) and not settings.splits:
        return write_own_splits(imported, output)
    shares = dict(settings.splits) or SHARES
    try:
        return split_file(output / RECORDS, shares, seed, settings.apart)
    except SplitError as error:
        imported.notices.append(
            f"No split files: {error.advice('importer.apart=[{}]')} Other shares: "
            "'importer.splits={train: 0.6, test: 0.4}'."
        )
        return {"train": output / RECORDS}


def _report(
    imported: Imported, output: Path, files: Mapping[str, Path], reasons: Sequence[str]
) -> None:
    counts: dict[str, Any] = dict(Counter(problem.key or "row" for problem in imported.skipped))
    if counts:
        log.warning("Left out clips with problems in: %s", counts)
    for notice in imported.notices:
        log.warning("%s", notice)
    log.info("%s records: %s", f"{len(imported.records):,}", output / RECORDS)
    for split, path in files.items():
        log.info("  %s: %s", split, path)
    log.info("Card: %s", output / CARD)
    if imported.dimensions:
        rubric = output / "task" / "rubric" / f"{imported.name}.yaml"
        log.info("Draft rubric, to be checked: %s", rubric)
    for reason in reasons:
        log.warning("This version cannot train on these records yet: %s", reason)
    if not reasons:
        log.info("Train: %s --config-dir %s task=%s", command_name(), output, imported.name)
