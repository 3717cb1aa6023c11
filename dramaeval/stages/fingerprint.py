"""The fingerprint of a run's inputs besides its settings: records, clips, base model and checkpoint.

A run folder keeps it in ``fingerprint.json``, and the fingerprints of records in ``fingerprint.records.jsonl``. A resumed
run keeps checkpoints, predictions, controls, exports and prepared files only if settings and fingerprint are the same.
Files may move: paths are kept for messages and are not compared.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dramaeval.config.problems import ConfigError
from dramaeval.config.task_parts import parts_of, where_of
from dramaeval.config.task_schema import SPLITS
from dramaeval.config.weights import hub_commit
from dramaeval.data.content_hashes import ContentHashes
from dramaeval.data.fingerprint import (
    RECORDS,
    RecordPrint,
    differences,
    digest_of,
    read_prints,
    record_prints,
    write_prints,
)
from dramaeval.data.manifest import (
    HASH,
    DamagedFileError,
    damage_of,
    entry_of,
    is_listed,
    matches,
    read_manifest,
    write_listed,
)
from dramaeval.data.problems import first_of, printable
from dramaeval.data.records import Record

log = logging.getLogger(__name__)

NAME = "fingerprint.json"
#: The key of a prepared line with the hash of its clip.
CLIP_HASH = "clip_hash"
#: The endings of files with weights.
_WEIGHTS = (".safetensors", ".bin", ".pt")
#: The endings of files in a model folder that do not change the model's answers.
_WITHOUT_EFFECT = (".md", "LICENSE", "NOTICE", "training_args.bin")


def path_settings(config: DictConfig) -> list[str]:
    """The settings that are paths of data and weights; the content of the files is compared instead of the path."""
    data = [
        f"{where_of(config.task, part)}.data.{name}"
        for part in parts_of(config.task)
        for name in (*SPLITS, "sample", "audio_root")
    ]
    return [*data, "task.data.audio_root", "input", "checkpoint", "model.path"]


@dataclass(frozen=True)
class Fingerprint:
    """The fingerprint of a run's inputs.

    Attributes:
        splits: by split: the hashes of the JSONL files, the folder of the clips, the number of records, and the hashes
            of all records' fingerprints, of the ids and of the clips.
        models: for ``model`` and ``checkpoint``: the source, and the hashes by file or the commit on the hub.
        trained: the hashes of the weights in ``model/`` that made the final predictions; empty before the training.
        records: the fingerprints of the records by split; empty if the fingerprint was read from a folder.
    """

    splits: Mapping[str, Mapping[str, Any]]
    models: Mapping[str, Mapping[str, Any]]
    trained: Mapping[str, str] = field(default_factory=dict)
    records: Mapping[str, list[RecordPrint]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The content of ``fingerprint.json``."""
        values = {key: value for key, value in asdict(self).items() if key != "records"}
        return json.dumps(values, indent=1) + "\n"  # a path may have no UTF-8 form

    def write(self, folder: Path) -> None:
        """Write both files; the file of the records only if it changes."""
        lines = write_prints(self.records)
        if not (folder / RECORDS).is_file() or not matches(folder / RECORDS, lines):
            write_listed(folder / RECORDS, lines)
        write_listed(folder / NAME, self.text)


def fingerprint_of(context: Any, hashes: ContentHashes) -> Fingerprint:
    """The fingerprint of the run of a `RunContext`.

    Raises:
        ConfigError: a clip or a file of a model cannot be read, or a clip changed after its line was prepared.
    """
    try:
        records = {
            split: record_prints(records, hashes, reads_audio=context.family.takes_audio)
            for split, records in context.splits.records.items()
        }
        if problems := [
            problem
            for split, prints in records.items()
            for problem in _changed_clips(context.splits[split], prints)
        ]:
            raise ConfigError(problems)
        return Fingerprint(
            splits={split: _split(context, split, prints) for split, prints in records.items()},
            models=_models(context, hashes),
            records=records,
        )
    except OSError as error:
        raise ConfigError(f"{printable(str(error))}. Check the file.") from None


def _changed_clips(records: Sequence[Record], prints: Sequence[RecordPrint]) -> Iterator[str]:
    """A problem for each file of prepared records whose clips have changed since stages=[prepare] wrote it."""
    by_file: dict[Path, list[str]] = {}
    for record, entry in zip(records, prints, strict=True):
        prepared = record.fields.get(CLIP_HASH)
        if entry.clip and prepared and prepared != entry.clip:
            by_file.setdefault(record.file, []).append(record.id)
    for file, ids in by_file.items():
        yield (
            f"{file}: the clips of {len(ids)} lines changed after stages=[prepare] wrote them "
            f"({first_of(ids)}). Prepare the file again, or restore the clips."
        )


def _split(context: Any, split: str, prints: Sequence[RecordPrint]) -> dict[str, Any]:
    files = sorted({record.file.absolute() for record in context.splits[split]})
    return {
        "files": {str(file): entry_of(file)[HASH] for file in files},
        "audio_root": context.config.task.data.audio_root,
        "records": len(prints),
        "hash": digest_of(prints),
        "ids": digest_of([entry[:1] for entry in prints]),
        "clips": digest_of([entry[2:] for entry in prints]),
    }


def _models(context: Any, hashes: ContentHashes) -> dict[str, dict[str, Any]]:
    family, base = context.family, context.base
    source = str(base or family.path)
    if Path(source).is_dir():
        models = {"model": {"source": source, "files": _files(Path(source), hashes)}}
    else:
        commit = hub_commit(source, family.revision) or family.revision
        models = {"model": {"source": source, "name": source, "commit": commit}}
    if context.checkpoint is not None and context.checkpoint.folder != base:
        folder = context.checkpoint.folder
        models["checkpoint"] = {"source": str(folder), "files": _files(folder, hashes)}
    return models


def _files(folder: Path, hashes: ContentHashes) -> dict[str, str]:
    """The hashes of a model's files, from the folder's manifest, or computed if it has none."""
    if listed := _listed_hashes(folder):
        return listed
    files = [
        file
        for file in sorted(folder.iterdir())
        if file.is_file()
        and not file.name.startswith(".")
        and not file.name.endswith(_WITHOUT_EFFECT)
    ]
    return {file.name: value for file, value in hashes.of(files, origin=folder).items()}


def read_fingerprint(folder: Path) -> Fingerprint | None:
    """The fingerprint in a run folder; None for a folder of an earlier version.

    Raises:
        DamagedFileError: the file is damaged.
    """
    file = folder / NAME
    if not file.is_file() and not is_listed(file):
        return None
    if damage := damage_of(file):
        raise DamagedFileError(damage)
    try:
        return Fingerprint(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DamagedFileError(f"{NAME} is damaged: {error}") from None


def compare(folder: Path, old: Fingerprint, new: Fingerprint) -> list[str]:
    """The differences between the fingerprint in a folder and the fingerprint of this start."""
    problems = [
        f"{name}: {'; '.join(changes)}"
        for name in sorted({*old.splits, *new.splits})
        if (changes := _split_changes(folder, name, old, new))
    ]
    for name in sorted({*old.models, *new.models}):
        before, after = old.models.get(name, {}), new.models.get(name, {})
        problems += [f"{name}: {change}" for change in _model_changes(before, after)]
    return problems


def changes_between_runs(old: Fingerprint, new: Fingerprint) -> list[str]:
    """The files that changed between two runs of a sweep, whose settings may differ."""
    changes = []
    for split in old.splits.keys() & new.splits.keys():
        a, b = old.splits[split], new.splits[split]
        same = {key for key in a if a[key] == b.get(key)}
        changes += [
            f"{file} changed"
            for file in sorted(a["files"].keys() & b["files"].keys())
            if a["files"][file] != b["files"][file]
        ]
        if "clips" not in same and {"files", "audio_root", "ids"} <= same and _have_clips(a, b):
            changes.append(f"clips of {', '.join(a['files'])} changed")
    for name in old.models.keys() & new.models.keys():
        if old.models[name].get("source") == new.models[name].get("source"):
            changes += _model_changes(old.models[name], new.models[name])
    return sorted(set(changes))


def _have_clips(*splits: Mapping[str, Any]) -> bool:
    """Whether the fingerprints of all splits include clips, which is so if the judges take audio."""
    return all(split["clips"] != digest_of([("",)] * split["records"]) for split in splits)


def _split_changes(folder: Path, name: str, old: Fingerprint, new: Fingerprint) -> list[str]:
    before, after = old.splits.get(name, {}), new.splits.get(name, {})
    if before.get("hash") == after.get("hash"):
        return []
    file, known = folder / RECORDS, dict[str, list[RecordPrint]]()
    if file.is_file() and not damage_of(file):
        known = read_prints(file.read_text(encoding="utf-8"))
    changes = differences(known.get(name, []), new.records.get(name, []))
    files = ", ".join(map(printable, after.get("files") or before.get("files") or {}))
    if len(known.get(name, [])) != before.get("records", 0):  # the file of the records is damaged
        changes = [f"{before.get('records', 0)} records → {after.get('records', 0)}, or other ones"]
    return [*changes[:-1], f"{changes[-1]} in {files}"] if changes else []


def _model_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    same = {key: value for key, value in before.items() if key != "source"}
    if same == {key: value for key, value in after.items() if key != "source"}:
        return
    files, others = before.get("files"), after.get("files")
    if files is None or others is None:
        yield f"{_source(before)} → {_source(after)}"
        return
    changed = [name for name in sorted({*files, *others}) if files.get(name) != others.get(name)]
    yield f"{first_of(changed)} in {after['source']} changed"


def _source(model: Mapping[str, Any]) -> str:
    commit = model.get("commit")
    return (model.get("source") or "none") + (f" at {commit}" if commit else "")


def trained_weights(model: Path) -> dict[str, str]:
    """The hashes of the weights in ``model/``, from its manifest; empty without a manifest."""
    hashes = _listed_hashes(model)
    return {name: value for name, value in hashes.items() if name.endswith(_WEIGHTS)}


def _listed_hashes(folder: Path) -> dict[str, str]:
    """The hashes by file in a folder's manifest; empty if the manifest is missing or damaged."""
    try:
        return {name: entry[HASH] for name, entry in read_manifest(folder).items()}
    except DamagedFileError:
        return {}
