"""LoRA adapters that belong to a checkpoint, as opposed to those that a judge trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dramaeval.models.adapters import load_adapter
from dramaeval.models.errors import ModelError
from dramaeval.models.loading import ModelFiles


def merge_own_adapter(model: Any, files: ModelFiles, subfolder: str = "") -> Any | None:
    """A model with its checkpoint's own adapter merged into the weights; None where the checkpoint has no adapter.

    Args:
        model: with the checkpoint's weights.
        files: of the checkpoint.
        subfolder: of the adapter in the checkpoint.

    Raises:
        ModelError: the adapter does not fit.
    """
    folder = _adapter_folder(files, subfolder)
    if folder is None:
        return None
    wrapped = load_adapter(model, folder, trainable=False, own=True)
    unread = [n for n, w in wrapped.named_parameters() if ".lora_B." in n and not w.any()]
    if unread:
        raise ModelError(
            f"The adapter beside the model {files.source} has no weights for {len(unread)} of its layers "
            f"({unread[0]}, …): it was made for other names. Merge it in the version of transformers that made it."
        )
    return wrapped.merge_and_unload(safe_merge=True).requires_grad_(True)


def _adapter_folder(files: ModelFiles, subfolder: str) -> Path | None:
    from transformers.utils import cached_file

    def find(source: str, **arguments: Any) -> Path | None:
        found = [
            cached_file(
                source,
                name,
                subfolder=subfolder,
                _raise_exceptions_for_missing_entries=False,
                **arguments,
            )
            for name in ("adapter_config.json", "adapter_model.safetensors")
        ]
        return Path(found[0]).parent if all(found) else None

    return files.read(find, accepts_code=False)
