"""Translates ``dramaeval score RUN CLIP … NAME=TEXT …`` and ``dramaeval serve RUN …`` into settings of these stages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from dramaeval.config.composition import choices
from dramaeval.config.config_folder import command_name
from dramaeval.config.literal import as_override
from dramaeval.config.problems import ConfigError
from dramaeval.config.unknown_keys import OPTIONS_WITH_VALUE, is_setting

_USAGE = """Usage: {command} score RUN INPUT … [NAME=TEXT …] [KEY=VALUE …]

  RUN         a run folder, a model or adapter, hf://owner/name, or a name in configs/model/ such as tiny
  INPUT       audio files, folders, globs in quotes, .jsonl, .csv, .parquet, .txt with a path a line,
              - for standard input, or demo for a bundled clip
  NAME=TEXT   a text that all clips share: scene="…" profile="…"
  KEY=VALUE   any setting, for example output=scores.csv, processes=2 or task=archetype

  Example: {command} score tiny demo"""


def with_settings_of_score(words: Sequence[str]) -> list[str]:
    """Translate the words of the command ``score`` into settings of the stage; the words of other commands are kept.

    A word is a clip if it names a file or has no ``=``. ``KEY=VALUE`` is a setting if dramaeval has a setting KEY, else
    a text.

    Raises:
        ConfigError: the judge or the clips are not given.
        SystemExit: after ``--help`` is answered.
    """
    if list(words[:1]) != ["score"]:
        return list(words)
    usage = _usage(_USAGE, words)
    judge, inputs, settings = None, [], []
    for before, word in pairwise(words):
        key, _, text = word.partition("=")
        if _is_of_option(word, before):
            settings.append(word)
        # The methods of Path raise for long texts and for words such as ~callbacks.early=1.
        elif "=" in word and not os.path.exists(os.path.expanduser(word)):
            is_override = not key.isidentifier() or is_setting(key)
            settings.append(word if is_override else f"texts.{key}={as_override(text)}")
        elif judge is None:
            judge = word
        else:
            inputs.append(word)
    if judge is None or not inputs:
        missing = "the judge and its clips" if judge is None else "the clips"
        raise ConfigError(f"{command_name()} score needs {missing}.\n\n{usage}")
    has_stages = any(word.startswith("stages=") for word in settings)
    stages = [] if has_stages else ["stages=[score]"]
    return [*stages, _setting_of_judge(judge), f"input={as_override(inputs)}", *settings]


_SERVE_USAGE = """Usage: {command} serve [RUN] [KEY=VALUE …]

  RUN         a run folder, a model or adapter, hf://owner/name, or a name in configs/model/ such as tiny;
              or checkpoint=RUN
  KEY=VALUE   any setting, for example serve.port=9000, device=cuda or task=archetype

  Example: {command} serve tiny"""


def with_settings_of_serve(words: Sequence[str]) -> list[str]:
    """Translate the words of the command ``serve`` into settings of the stage; the words of other commands are kept.

    Raises:
        ConfigError: more than one judge is given.
        SystemExit: after ``--help`` is answered.
    """
    if list(words[:1]) != ["serve"]:
        return list(words)
    usage = _usage(_SERVE_USAGE, words)
    judges: list[str] = []
    settings: list[str] = []
    for before, word in pairwise(words):
        (settings if "=" in word or _is_of_option(word, before) else judges).append(word)
    if len(judges) > 1:
        raise ConfigError(
            f"{command_name()} serve serves one judge: {', '.join(judges)}.\n\n{usage}"
        )
    return ["stages=[serve]", *map(_setting_of_judge, judges), *settings]


def _is_of_option(word: str, before: str) -> bool:
    """Whether a word is an option of Hydra, or the value of the option before it; ``-`` is standard input."""
    return (word.startswith("-") and word != "-") or before in OPTIONS_WITH_VALUE


def _usage(text: str, words: Sequence[str]) -> str:
    """The usage of a command; ``--help`` among the words prints it and ends the program."""
    usage = text.format(command=command_name())
    if {"--help", "-h"} & set(words):
        print(usage)
        raise SystemExit(0)
    return usage


def _setting_of_judge(judge: str) -> str:
    """The setting that selects a judge: a model of ``configs/model/``, or a checkpoint."""
    is_model = judge in choices("model") and not Path(judge).is_dir()
    return f"model={judge}" if is_model else f"checkpoint={as_override(judge)}"


def with_a_run_for_each_shard(words: Sequence[str]) -> list[str]:
    """The words of a command line; with ``shards=N``, words that start a sweep with a run for each shard."""
    values = {key: value for key, _, value in (word.partition("=") for word in words)}
    shards = values.get("shards", "1")
    if not shards.isascii() or not shards.isdigit() or int(shards) < 2 or "shard" in values:
        return list(words)
    multirun = [] if {"-m", "--multirun"} & set(words) else ["--multirun"]
    return [*multirun, *words, f"shard=range({int(shards)})"]
