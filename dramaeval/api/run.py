"""`run`: executes one run from Python, for example in a notebook, and returns its results as tables."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from dramaeval.config import registration, secrets
from dramaeval.config.composition import compose
from dramaeval.config.inheritance import inherited_run_id
from dramaeval.config.literal import folder_problem, literal
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import is_about_a_sweep
from dramaeval.config.score_command import with_settings_of_score
from dramaeval.config.unknown_keys import problems_of_words
from dramaeval.data.jsonl import json_lines
from dramaeval.distributed.folder_lock import locked
from dramaeval.stages.automatic_task import with_task_of_records
from dramaeval.stages.command_check import problems_of_command
from dramaeval.stages.pipeline import run_in_folder
from dramaeval.stages.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class RunResult:
    """The results of a run.

    Attributes:
        folder: the run folder.
        objective: the figure that a sweep maximises, on val or else on test: the macro Pearson of ratings, the accuracy
            on pairs without ties, or the accuracy on multiple-choice questions; None without evaluation.
    """

    folder: Path
    objective: float | None = None

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``; empty without evaluation."""
        file = RunFolder(self.folder).metrics
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    @property
    def predictions(self) -> pandas.DataFrame:
        """The predictions of the last phase; see `predictions_of`."""
        phases = [phase for phase in ("final", "zero_shot") if self._file(phase).is_file()]
        return self.predictions_of(phases[0] if phases else "final")

    def predictions_of(self, phase: str) -> pandas.DataFrame:
        """The predictions of a phase (``final`` or ``zero_shot``), with the keys of the file as columns; empty without it."""
        import pandas as pd

        file = self._file(phase)
        lines = [json.loads(line) for _, line in json_lines(file)] if file.is_file() else []
        return pd.DataFrame(lines)

    def _file(self, phase: str) -> Path:
        return RunFolder(self.folder).predictions(phase)

    @property
    def paths(self) -> dict[str, Path]:
        """The existing files and folders of the run by name: config, log, metrics, report, model, …"""
        folder = RunFolder(self.folder)
        named = {name: path for name, path in vars(folder).items() if name != "path"}
        named |= {"predictions": folder.predictions("final")}
        return {name: path for name, path in named.items() if path.exists()}


def run(overrides: Sequence[str] = ()) -> RunResult:
    """Execute a run in this process, as ``python launch.py`` does with the same words.

    Args:
        overrides: words of the command line: ``["task=role", "peft=lora", "trainer.args.max_steps=60"]``, or
            ``["score", "tiny", "demo"]``. ``hydra.run.dir=FOLDER`` sets the run folder; a second call with the same
            folder resumes an interrupted run. A ``_target_`` can name a class of the notebook: ``__main__.MyCallback``.

    Returns:
        the results, which are read from the run folder when they are accessed.

    Raises:
        ConfigError, BadRecordsError, ModelError: list all problems, before weights load.
        FolderInUseError: another process works in the folder.
    """
    config = _composed(overrides)
    folder = Path(str(config.hydra.run.dir)).absolute()
    if problem := folder_problem(folder, "hydra.run.dir:"):
        raise ConfigError(problem)
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = literal(str(folder))
    with _as_job(config), locked(folder):
        settings = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        secrets.guard(settings, HydraConfig.get())
        return RunResult(
            folder, run_in_folder(settings, folder, lambda *_: (), starts_processes=True)
        )


def _composed(overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration with Hydra's node.

    Raises:
        ConfigError: lists the problems of the overrides.
    """
    if isinstance(overrides, str):
        raise ConfigError(f'overrides must be a list of words: ["{overrides}"].')
    words = with_task_of_records(with_settings_of_score(list(overrides)))
    if options := [word for word in words if word.startswith("-")]:
        raise ConfigError(
            f"{' '.join(options)}: run starts one run and takes KEY=VALUE words only."
        )
    if problems := problems_of_words(words):
        raise ConfigError(problems)
    registration.register()
    registration.register_run_id(inherited_run_id)
    try:
        config = compose(*words, with_hydra=True)
    except HydraException as error:
        raise ConfigError(str(error)) from None
    if is_about_a_sweep(config):
        raise ConfigError("run starts one run: sweeps are commands of the shell (launch.py -m …).")
    if problems := problems_of_command(config):
        raise ConfigError(problems)
    return config


@contextmanager
def _as_job(config: DictConfig) -> Iterator[None]:
    """Set Hydra's configuration to that of the run inside the block; afterwards restore it and the logging."""
    root, hydra = logging.getLogger(), HydraConfig.instance()
    before = hydra.cfg, root.handlers[:], root.level, sys.excepthook, threading.excepthook
    root.handlers = []  # the run closes all handlers of the root logger
    hydra.set_config(config)
    try:
        yield
    finally:
        for handler in root.handlers:
            handler.close()
        hydra.cfg, root.handlers, level, sys.excepthook, threading.excepthook = before
        root.setLevel(level)
        logging.captureWarnings(False)
