"""Publishes an exported judge on the Hugging Face hub (``export.push_to_hub``), or lists the files for a dry run."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from dramaeval.config.schema import Stage
from dramaeval.config.weights import HUB_NAME
from dramaeval.data.atomic_files import write_folder_atomic
from dramaeval.data.manifest import NAME as MANIFEST
from dramaeval.models.errors import ModelError
from dramaeval.stages.hub_files import fill

log = logging.getLogger(__name__)

#: The folder in the run folder with the published files.
FOLDER = "hub"


def problems(config: DictConfig) -> list[str]:
    """Problems of the settings of publishing."""
    export, name = config.export, config.export.push_to_hub
    messages = []
    if name is None:
        if export.dry_run:
            messages.append(
                "export.dry_run=true lists what export.push_to_hub=owner/name would publish: give it."
            )
        return messages
    if Stage.export not in config.stages:
        messages.append(f"export.push_to_hub={name} does nothing here: add export to stages.")
    if not HUB_NAME.fullmatch(name) or "@" in name:
        messages.append(
            f"export.push_to_hub={name} is not a name on the hub: give it as owner/name."
        )
    return messages


def publish(config: DictConfig, run: Path, export: Path, metrics: Path | None) -> None:
    """Publish an exported judge; with ``export.dry_run`` only log the files that would be published.

    Args:
        run: the run folder, which keeps a copy of the published files.
        export: the folder of the exported judge.
        metrics: ``metrics.json`` of the run that trained the judge; None without one.

    Raises:
        ConfigError: a file contains something that must not be published.
        ModelError: the hub refuses the upload or cannot be reached.
    """
    name, private = config.export.push_to_hub, config.export.private
    left_out: list[str] = []
    folder = run / FOLDER
    write_folder_atomic(
        folder, lambda unfinished: left_out.extend(fill(unfinished, export, metrics, name))
    )
    visibility = "private" if private else "public"
    verb = "would be published" if config.export.dry_run else "are published"
    log.info("These files %s as %s (%s):", verb, name, visibility)
    for file in sorted(folder.iterdir()):
        log.info("  %s, %s bytes", file.name, f"{file.stat().st_size:,}")
    if names := [file_name for file_name in left_out if file_name != MANIFEST]:
        log.info("Left out: %s", ", ".join(names))
    if not config.export.dry_run:
        _upload(folder, name, private=private)


def _upload(folder: Path, name: str, *, private: bool) -> None:
    """Create the repository if it does not exist, and upload the files in one commit."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi()
    try:
        repository = api.create_repo(name, private=private, exist_ok=True)
        if private and not api.model_info(name).private:
            raise ModelError(
                f"export.push_to_hub={name} exists and is public, and export.private=true: choose another name, make "
                "it private on the hub, or set export.private=false."
            )
        api.upload_folder(
            folder_path=folder, repo_id=name, commit_message="Upload a judge of dramaeval"
        )
    except (HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(
            f"export.push_to_hub={name}: the hub refuses or cannot be reached: {reason} Log in with `hf auth login` "
            f"or set HF_TOKEN, then start the same command again; the files are in {folder}."
        ) from None
    log.info("Published as %s; checkpoint=%s loads it.", repository, name)
