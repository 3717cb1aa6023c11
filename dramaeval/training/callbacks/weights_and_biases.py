"""Weights & Biases: one run per training, with the configuration, the curves and the final table.

This module calls wandb directly: the callback of transformers would record the trainer's arguments instead of the
run's configuration, and would start a new W&B run at every resume.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from transformers import TrainerCallback

from dramaeval.config.secrets import masked
from dramaeval.data.atomic_files import write_text_atomic
from dramaeval.data.raters import is_number

log = logging.getLogger(__name__)

STEP = "train/global_step"


class WeightsAndBiases(TrainerCallback):
    """Sends logged figures to W&B, or stores them in ``wandb/`` of the run folder for ``wandb sync``.

    Args:
        settings: the values of ``logger.wandb``.
        folder: the run folder.
        config: the run's configuration as plain values, without secrets.
    """

    def __init__(self, settings: Mapping[str, Any], folder: Path, config: dict[str, Any]) -> None:
        self.settings = settings
        self.folder = folder
        self.config = config
        self._run: Any = None

    @property
    def run(self) -> Any:
        """The W&B run; the first access starts it."""
        if self._run is None:
            self._run = self._start()
        return self._run

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the run before the first step, so that a missing connection is reported early."""
        if state.is_world_process_zero:
            log.info("W&B run %s (%s).", self.run.id, "offline" if self.run.offline else "online")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Log the figures under the same names as in TensorBoard."""
        from transformers.integrations import rewrite_logs

        if logs and state.is_world_process_zero:
            self.run.log({**rewrite_logs(logs), STEP: state.global_step})

    def report(self, metrics: Mapping[str, Mapping[str, Any]]) -> None:
        """Add the agreement with people: a table with a row per dimension, and the macro figures in the run's summary.

        Args:
            metrics: results of `summarise` by split and phase, as in metrics.json.
        """
        import wandb

        rows = [
            {"split": split, "phase": phase, "dimension": dimension, **_figures(values)}
            for split, phases in metrics.items()
            for phase, summary in phases.items()
            for dimension, values in summary["dimensions"].items()
        ]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        data = [[row.get(name) for name in columns] for row in rows]
        self.run.log({"agreement": wandb.Table(columns=columns, data=data)})
        for split, phases in metrics.items():
            for phase, summary in phases.items():
                for name, value in _figures(summary["macro"]).items():
                    self.run.summary[f"{split}/{phase}/macro/{name}"] = value

    def finish(self, *, failed: bool) -> None:
        """Close the run, and mark it as failed or finished."""
        if self._run is not None:
            self._run.finish(exit_code=int(failed))
            self._run = None

    def _start(self) -> Any:
        import wandb

        mode = self._mode()
        try:
            run = self._init(mode)
        except wandb.errors.Error as error:
            if self.settings["mode"] != "auto":
                raise
            log.warning("W&B cannot be reached (%s): the run is kept offline.", error)
            run = self._init("offline")
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP)
        return run

    def _init(self, mode: Any) -> Any:
        import wandb

        chosen = {key: self.settings[key] for key in ("project", "entity", "name", "group")}
        chosen["name"] = chosen["name"] or "/".join(self.folder.absolute().parts[-2:])
        with _masked_command():
            return wandb.init(
                **{key: masked(value) for key, value in chosen.items()},
                tags=[masked(tag) for tag in self.settings["tags"]],
                id=self._id(),
                resume="allow",
                mode=mode,
                dir=str(self.folder),
                config=self.config,
                # The run folder already has the log, the versions and the commit.
                settings=wandb.Settings(
                    silent=True, console="off", save_code=False, disable_git=True
                ),
            )

    def _id(self) -> str:
        """The id of the W&B run; the run folder stores it, so that a resumed run continues the same curves."""
        file = self.folder / "wandb" / "run-id"
        if file.is_file():
            identity = file.read_text(encoding="utf-8", errors="replace").strip()
            if re.fullmatch("[0-9a-f]{8}", identity):
                return identity
            log.warning("%s holds no id of a run: the curves continue in a new W&B run.", file)
        file.parent.mkdir(parents=True, exist_ok=True)
        identity = secrets.token_hex(4)
        write_text_atomic(file, identity)
        return identity

    def _mode(self) -> Any:
        """The mode for wandb; None if WANDB_MODE is set, because wandb reads it."""
        if self.settings["mode"] != "auto":
            return str(self.settings["mode"])
        if os.environ.get("WANDB_MODE"):
            return None
        return "online" if key_is_known() else "offline"


@contextmanager
def _masked_command() -> Iterator[None]:
    """Mask secrets in the command line in this block, because W&B records the command line."""
    arguments = sys.argv
    sys.argv = [masked(argument) for argument in arguments]
    try:
        yield
    finally:
        sys.argv = arguments


def key_is_known() -> bool:
    """Whether wandb finds an API key in the environment or in the file of `wandb login`."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    from netrc import NetrcParseError, netrc

    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False


def _figures(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in values.items() if is_number(value)}
