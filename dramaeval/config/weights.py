"""Finds the weights in a folder and identifies a model by its content, not by its location."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from dramaeval.config.home_folder import expand_home
from dramaeval.config.literal import read_plain
from dramaeval.config.problems import ConfigError

#: The files with the settings of an adapter, a model and a judge, in the folder of the weights.
ADAPTER, MODEL, JUDGE = "adapter_config.json", "config.json", "judge.yaml"
#: The prefix of a judge on the hub.
HUB = "hf://"
#: A name on the hub: owner/name or owner/name@revision.
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+(?:@[\w./-]+)?")
#: The files of a judge that are downloaded from the hub.
_OF_JUDGE = ["*.json", "*.yaml", "*.jinja", "*.txt", "*.model", "*.safetensors", "*.md"]
#: Settings in these files that name a location or the version of a library.
_NOT_CONTENT = frozenset(
    {"_name_or_path", "transformers_version", "peft_version", "base_model_name_or_path"}
)
#: The largest tensor, in bytes, that is read completely; three blocks of a larger tensor are read.
_WHOLE = 2**20
_BLOCK = 2**12
_HEADER = 8


def local_folder(path: str) -> str:
    """The folder of a judge: the path itself, or for ``hf://owner/name@revision`` its copy in the local cache.

    Raises:
        ConfigError: the judge cannot be downloaded and is not in the cache.
    """
    if not path.startswith(HUB):
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = path.removeprefix(HUB).partition("@")
    try:
        return str(snapshot_download(name, revision=revision or None, allow_patterns=_OF_JUDGE))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{path} cannot be downloaded and is not in the local cache: {reason} Give hf://owner/name or "
            "hf://owner/name@revision, or a folder."
        ) from None


def checkpoint_folder(path: str) -> str:
    """As `local_folder`; in addition ``owner/name`` is a judge on the hub, unless a folder ``owner`` exists.

    Raises:
        ConfigError: see `local_folder`.
    """
    is_name = HUB_NAME.fullmatch(path) and not Path(path.partition("/")[0]).exists()
    return local_folder(f"{HUB}{path}" if is_name else path)


def hub_commit(name: str, revision: str | None) -> str | None:
    """The commit of a hub model in the local cache; None if the cache does not hold it, or the name is invalid."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        file = try_to_load_from_cache(name, MODEL, revision=revision)
    except HFValidationError:
        return None
    return Path(file).parent.name if isinstance(file, str) else None


def weights_folder(path: str | os.PathLike[str]) -> Path | None:
    """The folder with the weights in a run folder, a model folder or an adapter folder; None without weights."""
    root = expand_home(path)
    for folder in (root, root / "model", root / "export"):
        if (folder / ADAPTER).is_file() or (folder / MODEL).is_file():
            return folder
    return None


def model_identity(path: str | os.PathLike[str], revision: str | None = None) -> str | None:
    """The identity of a model: the fingerprint of a folder, or the name and the revision on the hub.

    Args:
        path: a folder, or a name on the hub.
        revision: the revision on the hub.

    Returns:
        None for an absolute path that is not a folder.
    """
    folder = expand_home(path)
    if folder.is_dir():
        return fingerprint(weights_folder(folder) or folder)
    if folder.is_absolute():
        return None
    return f"{path}@{revision}" if revision else str(path)


def fingerprint(folder: Path) -> str:
    """A hash of the settings and weights of a model or adapter; a copy has the same hash.

    The settings are those of transformers, PEFT (without the base) and ``judge.yaml``. Only the beginning, the middle
    and the end of a tensor of more than 1 MiB are read, so that a model of 7 billion parameters takes seconds. The
    hash does not depend on how the weights are split into files.
    """
    folder = folder.resolve()
    files = sorted(file for file in folder.glob("*") if file.is_file())
    status = tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    return _fingerprint(folder, status)


@functools.lru_cache(maxsize=256)
def _fingerprint(folder: Path, status: tuple[tuple[str, int, int], ...]) -> str:
    content = hashlib.blake2b(digest_size=16)
    for name in (MODEL, ADAPTER):
        if (folder / name).is_file():
            content.update(_settings(folder / name).encode())
    if (folder / JUDGE).is_file():
        content.update(_judge(folder / JUDGE).encode())
    tensors: dict[str, bytes] = {}
    for name, size, _ in status:
        if name.endswith(".safetensors"):
            tensors |= _tensors(folder / name)
        elif name.endswith((".bin", ".pt", ".pth")) and name != "training_args.bin":
            tensors[name] = str(size).encode() + _sample(folder / name, 0, size)
    for name in sorted(tensors):
        content.update(name.encode() + b"\0" + tensors[name])
    return content.hexdigest()


def _settings(file: Path) -> str:
    """The settings in a JSON file as text, without locations and versions, and with sorted lists of names."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return file.read_text(encoding="utf-8", errors="replace")
    kept = {key: _sorted(value) for key, value in values.items() if key not in _NOT_CONTENT}
    return json.dumps(kept, sort_keys=True)


def _sorted(value: Any) -> Any:
    is_names = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return sorted(value) if is_names else value


def _judge(file: Path) -> str:
    """The content of ``judge.yaml`` without the path of the base."""
    import yaml

    try:
        values = read_plain(file)
        values["model"].pop("path", None)
        return json.dumps(values, sort_keys=True, default=str)
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, AttributeError):
        return file.read_text(encoding="utf-8", errors="replace")


def _tensors(file: Path) -> dict[str, bytes]:
    """The dtype, the shape and a hash of each tensor in a safetensors file; a hash of the file if it is damaged."""
    size = file.stat().st_size
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(_HEADER), "little")
            if length > size:
                raise ValueError
            header = json.loads(opened.read(length))
        header.pop("__metadata__", None)
        start = _HEADER + length
        return {
            name: f"{entry['dtype']} {entry['shape']}".encode()
            + _sample(file, *(start + offset for offset in entry["data_offsets"]))
            for name, entry in header.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return {file.name: str(size).encode() + _sample(file, 0, size)}


def _sample(file: Path, begin: int, end: int) -> bytes:
    """The hash of a file's bytes from ``begin`` to ``end``, or of three blocks if these are more than `_WHOLE`."""
    blocks = [(begin, end)]
    if end - begin > _WHOLE:
        middle = (begin + end) // 2
        blocks = [(at, at + _BLOCK) for at in (begin, middle, end - _BLOCK)]
    content = hashlib.blake2b(digest_size=16)
    with file.open("rb") as opened:
        for first, last in blocks:
            opened.seek(first)
            content.update(opened.read(last - first))
    return content.digest()
