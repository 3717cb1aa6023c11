"""What our sweepers share: a sweep's folder, a launcher, and an end that says what failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from dramaeval.config.problems import ConfigError
from dramaeval.config.secrets import refuse_words
from dramaeval.distributed.folder_lock import locked
from dramaeval.launch.runner import command
from dramaeval.launch.sweeps.folder import CHOOSE, SweepFolder
from dramaeval.launch.sweeps.table import print_table, settings, write_tables
from dramaeval.stages.user_errors import user_facing_errors

OURS = "hydra_plugins.dramaeval_sweeps."


class SweepRunner:
    """A sweeper, behind the plugin that Hydra knows.

    Args:
        options: of ``hydra.sweeper``.
    """

    #: Names that its options may have.
    OPTIONS: tuple[str, ...] = ("params",)

    def __init__(self, **options: Any) -> None:
        self.options = options

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Take over what Hydra has composed, and check it.

        Raises:
            SystemExit: with everything that is wrong.
        """
        self.context, self.config = hydra_context, config
        with user_facing_errors():
            problems = self.problems()
            if problems:
                raise ConfigError(problems)
        plugin: Any = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.launcher = plugin.does
        self.folder = SweepFolder(Path(str(config.hydra.sweep.dir)))

    def problems(self) -> list[str]:
        """What of the settings cannot be done."""
        found = [
            f"hydra.sweeper.{name} is not an option of this sweeper. Valid are {', '.join(self.OPTIONS)}."
            for name in self.options
            if name not in self.OPTIONS
        ]
        if not str(self.config.hydra.launcher._target_).startswith(OURS):
            found.append(
                "hydra/launcher: choose one of local_processes, slurm, slurm_cpu; other launchers keep no "
                "table of the runs."
            )
        if self.config.sweep is not None:
            found.append("sweep=… is not for -m: leave out one of them.")
        return found

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the sweep's folder, so that no other process starts or resumes runs in it.

        Raises:
            SystemExit: another process has locked it.
        """
        with user_facing_errors(), locked(self.folder.path, CHOOSE):
            yield
        with suppress(OSError):
            self.folder.path.rmdir()  # where nothing came of the sweep

    def overrides(self, arguments: Sequence[str]) -> list[Override]:
        """The space's and the command line's overrides; the latter win."""
        params: Mapping[str, Any] = self.options.get("params") or {}
        words = [f"{key}={value}" for key, value in params.items()]
        parser = OverridesParser.create(config_loader=self.context.config_loader)
        with user_facing_errors():
            refuse_words(words)
            refuse_words(arguments)
            found: dict[str, Override] = {}
            for one in parser.parse_overrides([*words, *arguments]):
                found[one.get_key_element()] = one
            return list(found.values())

    def close(self) -> None:
        """Write the table a last time and say how it went.

        Raises:
            SystemExit: 1, if a run has not come to its end.
        """
        with user_facing_errors():
            end(self.folder)


def end(folder: SweepFolder) -> None:
    """Say how a sweep went.

    Raises:
        SystemExit: 1, if a run has not come to its end.
    """
    table = write_tables(folder.path, running=False)
    print_table(table, folder.path)
    failed = table.unfinished
    if failed:
        lines = []
        for row in failed:
            given = {key: row.run.settings.get(key, "") for key in table.varied}
            lines.append(f"  {row.run.folder.name} ({settings(given)}): {row.told}")
        raise SystemExit(
            f"\n{len(failed)} of {len(table.rows)} runs did not finish:\n"
            + "\n".join(lines)
            + f"\nRun them again with: {command(folder, 'resume=true')}"
        )
