"""``shards=N``: divides the records of ``input`` among N runs, each of which scores one ``shard``.

Shard k has the lines k + 1, k + 1 + N, … of every file. `dramaeval.launch.sweeps.joining` joins the results.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.data.jsonl import json_lines
from dramaeval.data.problems import BadRecordsError, Problem

#: The file in a shard's run folder with the paths of its clips by id.
CLIPS = "clips.json"
#: The largest number of repeated ids in a message.
_SHOWN = 20


def problems(config: DictConfig) -> list[str]:
    """Problems of ``shards`` and ``shard``."""
    shards, shard = config.shards, config.shard
    if shards == 1:
        return [f"shard={shard} needs shards=N."] if shard is not None else []
    if list(config.stages) != [Stage.score]:
        return [
            f"shards={shards} divides the input of stages=[score]; it has no effect on other stages."
        ]
    if shard is None:
        return [
            f"shards={shards}: this run needs shard=0 to {shards - 1}; on the command line shards={shards} starts "
            "all of them."
        ]
    return [] if shard < shards else [f"shard={shard} must be below shards={shards}."]


def line_options(config: DictConfig) -> dict[str, Any]:
    """The argument of `Task.read` that selects the lines of this shard; empty without shards."""
    if config.shards == 1:
        return {}
    return {"lines": range(config.shard + 1, sys.maxsize, config.shards)}


def require_divisible(config: DictConfig, files: Sequence[Path]) -> None:
    """Check the whole input before a shard is scored: every shard needs records, and ids must be unique.

    Args:
        files: the JSON Lines files of the input.

    Raises:
        ConfigError: a shard would be empty.
        BadRecordsError: lists the repeated ids.
    """
    first: dict[str, tuple[Path, int]] = {}
    repeated: list[Problem] = []
    longest = 0
    for file in files:
        for number, line in json_lines(file) if file.is_file() else ():
            longest = max(longest, number)
            try:
                name = str(json.loads(line)["id"])
            except (ValueError, KeyError, TypeError):
                continue  # the reader of the records reports it
            where = first.setdefault(name, (file, number))
            if where != (file, number) and len(repeated) < _SHOWN:
                problem = f"already used in {where[0]}, line {where[1]}"
                fix = "give every record its own id"
                repeated.append(
                    Problem(file=file, line=number, id=name, key="id", problem=problem, fix=fix)
                )
    if repeated:
        raise BadRecordsError(repeated)
    if files and longest < config.shards:
        raise ConfigError(
            f"shards={config.shards}, but no file of the input has more than {longest} records."
        )
