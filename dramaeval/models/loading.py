"""Reads the files of a model from a folder or from the Hub; errors name the setting to change."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlsplit

from safetensors import SafetensorError

from dramaeval.models.errors import ModelError
from dramaeval.models.failures import first_line

#: The predicate of a sentence about refused weights in a pickle.
UNSAFE_PICKLE = (
    "is a pickle that holds more than weights, and reading it could run code: it is not read. Save the weights "
    "as safetensors where you trust them."
)


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model.

    Attributes:
        source: a local folder or a name on the Hub.
        revision: branch, tag or commit on the Hub.
        trust_remote_code: whether Python code among the files may run.
        setting: the setting that names the files, for messages.
    """

    source: str
    revision: str | None = None
    trust_remote_code: bool = False
    setting: str = "model.path"

    def read(
        self,
        from_pretrained: Callable[..., Any],
        *,
        accepts_code: bool = True,
        **arguments: Any,
    ) -> Any:
        """Call a ``from_pretrained`` of transformers on these files.

        Args:
            from_pretrained: the function.
            accepts_code: whether the function takes ``trust_remote_code``.
            arguments: further arguments of the function.

        Raises:
            ModelError: the files are missing, unreachable, damaged or unsafe.
        """
        local = self._is_folder()
        if accepts_code:
            arguments["trust_remote_code"] = self.trust_remote_code
        if not local:
            arguments["revision"] = self.revision
        # Without this argument, the Hub's client retries for half a minute per file before it reads the cached file.
        arguments["local_files_only"] = local or not hub_is_reachable()
        try:
            return from_pretrained(self.source, **arguments)
        except UnpicklingError as error:
            raise ModelError(f"The model {self.source} {UNSAFE_PICKLE}") from error
        except (OSError, ValueError, SafetensorError) as error:
            raise self._error(error, local) from error

    def _is_folder(self) -> bool:
        """Whether the source is a folder, not a name on the Hub.

        Raises:
            ModelError: the source is the path of a folder that does not exist.
        """
        folder = Path(self.source)
        local = folder.is_dir()
        if not local and (folder.is_absolute() or self.source.startswith((".", "~"))):
            raise ModelError(
                f"{self.setting}={self.source} is not a folder. Give the folder that holds config.json and the "
                "safetensors files, or a name on the hub like Qwen/Qwen2-Audio-7B-Instruct."
            )
        return local

    def problem(self) -> str | None:
        """Describe missing files of configuration or weights; None if no file is missing.

        For a model on the Hub, the configuration is downloaded. If the Hub cannot be reached, configuration and weights
        must be in the local cache.
        """
        from transformers.utils import cached_file

        try:
            folder = Path(self.source)
            if not self._is_folder():
                file = self.read(cached_file, accepts_code=False, filename="config.json")
                folder = Path(file).parent
                if hub_is_reachable():
                    return None
        except ModelError as error:
            return str(error)
        if missing := _missing_file(folder):
            return f"The model {self.source} is incomplete: {folder} has no {missing}. Download it again."
        return None

    def _error(self, error: Exception, local: bool) -> ModelError:
        if not local and not hub_is_reachable():
            return ModelError(
                f"The model {self.source} is not in the local cache and the hub cannot be reached from here. "
                f"Download it elsewhere and point to it: {self.setting}=/folder/of/the/model."
            )
        if "trust_remote_code" in str(error):
            return ModelError(
                f"The model {self.source} brings Python code, which runs only with "
                "model.trust_remote_code=true, or Judge.load(…, trust_remote_code=True)."
            )
        return ModelError(f"The model {self.source} could not be read: {first_line(error)}")


def _missing_file(folder: Path) -> str | None:
    """The first missing file of configuration or weights in a model's folder; None if the folder is complete."""
    if not (folder / "config.json").is_file():
        return "config.json"
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return None
        if index.is_file():
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            return next((shard for shard in sorted(shards) if not (folder / shard).is_file()), None)
    return "model.safetensors"


@lru_cache(maxsize=1)
def hub_is_reachable() -> bool:
    """Whether the Hub can be reached, tested once per process; True behind a proxy."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")):
        return True
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=5).close()
    except OSError:
        return False
    return True
