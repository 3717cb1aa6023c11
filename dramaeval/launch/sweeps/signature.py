"""Which settings of a sweep this account wrote itself: those of others can run code when a sweep is resumed.

A sweep's ``multirun.yaml`` and its runs' ``.hydra/`` name classes, environment variables and lines of shell.
They are signed with a key that only this account can read (HMAC-SHA256, RFC 2104). The owner of a file proves
nothing: whoever unpacks an archive owns what was in it.
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

from dramaeval.launch.sweeps.state import write_atomic

log = logging.getLogger(__name__)

#: Lies in a sweep's folder, and in the ``.hydra/`` of each of its runs.
FILE = "signature.json"
_BYTES = 32


def key_file() -> Path:
    """Where the account's key is: ``dramaeval/signing_key`` in ``$XDG_CONFIG_HOME`` or ``~/.config``."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "dramaeval" / "signing_key"


def sign(folder: Path, names: Iterable[str]) -> None:
    """Sign files of a folder; without a place for a key nothing is signed, and the log says so."""
    key = _key(make=True)
    if key is None:
        log.warning(
            "%s cannot be written: resume=true will need launch.trust=true for this sweep.",
            key_file(),
        )
        return
    signed = {name: _signature(key, folder / name) for name in names}
    write_atomic(folder / FILE, json.dumps(signed, indent=1) + "\n")


def unsigned(folder: Path, names: Iterable[str]) -> list[Path]:
    """Those of the files that this account did not sign as they are now."""
    key = _key(make=False)
    try:
        signed = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        signed = {}
    own = signed if key is not None and isinstance(signed, dict) else {}
    return [
        folder / name
        for name in names
        if not isinstance(own.get(name), str)
        or not hmac.compare_digest(
            own[name].encode(), _signature(key or b"", folder / name).encode()
        )
    ]


def _signature(key: bytes, file: Path) -> str:
    content = file.read_bytes() if file.is_file() else b""
    return hmac.new(key, file.name.encode() + b"\0" + content, hashlib.sha256).hexdigest()


def _key(*, make: bool) -> bytes | None:
    """The account's key; None where there is none that only this account can read and write."""
    file = key_file()
    try:
        if make and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            _make_key(file)
        about = file.stat()
        if about.st_uid != os.getuid() or about.st_mode & 0o077:
            log.warning("%s is not used: others can read it. Delete it to have a new one.", file)
            return None
        key = bytes.fromhex(file.read_text(encoding="ascii").strip())
    except (OSError, RuntimeError, ValueError):  # RuntimeError: an account without a home
        return None
    return key if len(key) == _BYTES else None


def _make_key(file: Path) -> None:
    """Write a new key, whole or not at all; of several processes that do so at a time the first one's stays."""
    unfinished = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as made:
            made.write(secrets.token_hex(_BYTES) + "\n")
        os.link(unfinished, file)
    except FileExistsError:
        pass
    finally:
        unfinished.unlink()
