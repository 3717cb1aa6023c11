"""Signs the settings of a sweep, so that a resumed sweep uses only settings that this account has written.

A sweep's ``multirun.yaml`` and the ``.hydra/`` folders of its runs name classes, environment variables and shell
commands. They are signed with HMAC-SHA256 (RFC 2104) and a key that only this account can read. File ownership is not
enough, since a user who unpacks an archive of another person owns its files.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from dramaeval.config.home_folder import expand_home
from dramaeval.data.atomic_files import write_text_atomic
from dramaeval.data.jsonl import read_object

log = logging.getLogger(__name__)

#: The file with the signatures, in a sweep's folder and in the ``.hydra/`` of each of its runs.
FILE = "signature.json"
_BYTES = 32


def key_file() -> Path:
    """The file with the account's key: ``dramaeval/signing_key`` in ``$XDG_CONFIG_HOME`` or ``~/.config``."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return expand_home(base) / "dramaeval" / "signing_key"


def sign(folder: Path, names: Iterable[str]) -> None:
    """Sign files of a folder; if the key cannot be written, log a warning and sign nothing."""
    key = _key(create=True)
    if key is None:
        log.warning(
            "%s cannot be written: resume=true will need launch.trust=true for this sweep.",
            key_file(),
        )
        return
    signatures = {name: _signature(key, folder / name) for name in names}
    write_text_atomic(folder / FILE, json.dumps(signatures, indent=1) + "\n")


def unsigned(folder: Path, names: Iterable[str]) -> list[Path]:
    """The files of a folder that have no valid signature of this account."""
    key = _key(create=False)
    signatures = read_object(folder / FILE)
    if key is None:
        return [folder / name for name in names]
    return [
        folder / name
        for name in names
        if not hmac.compare_digest(
            str(signatures.get(name)).encode(), _signature(key, folder / name).encode()
        )
    ]


def _signature(key: bytes, file: Path) -> str:
    content = file.read_bytes() if file.is_file() else b""
    return hmac.new(key, file.name.encode() + b"\0" + content, hashlib.sha256).hexdigest()


def _key(*, create: bool) -> bytes | None:
    """The account's key; None if there is no valid key, or another account can read or write it."""
    file = key_file()
    try:
        if create and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            _create_key(file)
        status = file.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            log.warning(
                "%s is not used: other accounts can read it. Delete it; a new key is created.", file
            )
            return None
        key = bytes.fromhex(file.read_text(encoding="ascii").strip())
    except (OSError, RuntimeError, ValueError):  # RuntimeError: an account without a home folder
        return None
    return key if len(key) == _BYTES else None


def _create_key(file: Path) -> None:
    """Write a new key in one step; if several processes call this at the same time, the first key is kept."""
    unfinished = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as opened:
            opened.write(secrets.token_hex(_BYTES) + "\n")
        os.link(unfinished, file)
    except FileExistsError:
        pass
    finally:
        unfinished.unlink()
