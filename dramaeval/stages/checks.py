"""Checks a composed configuration without reading data or weights, and reports all problems together.

Each rule is declared next to its subject: types, limits and unknown keys in the schema, other rules in the ``settings``
modules of tasks, models, training and ZeRO and in the function ``check`` of each stage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config import extras, fields
from dramaeval.config.keys import missing_targets
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Root, Stage
from dramaeval.distributed import zero_settings
from dramaeval.models import adapter_settings
from dramaeval.models import settings as model_settings
from dramaeval.stages import (
    api_settings,
    base_model,
    controls,
    converted_sources,
    evaluate,
    export,
    import_records,
    prepare,
    report,
    score,
    serve,
    train,
)
from dramaeval.tasks import settings as task_settings
from dramaeval.training import settings as training_settings

#: The modules of the stages. A stage is also listed in `dramaeval.config.schema.Stage` and called in
#: `dramaeval.stages.pipeline.run_stages`; one that checks records is in `dramaeval.stages.pipeline.CHECK_RECORDS`.
STAGES = (import_records, prepare, train, evaluate, controls, score, report, export, serve)
RULES: tuple[Callable[[DictConfig], list[str]], ...] = (
    missing_targets,
    extras.problems,
    task_settings.problems,
    model_settings.problems,
    adapter_settings.problems,
    training_settings.problems,
    zero_settings.problems,
    base_model.check,
    api_settings.check,
    converted_sources.check,
    *(stage.check for stage in STAGES),
)


def check(config: DictConfig) -> None:
    """Raise ConfigError with all problems of a configuration."""
    missing = sorted(_missing(OmegaConf.to_container(config, resolve=False)))
    problems = [f"{key} has no value: give it as {key}=…" for key in missing]
    if not config.stages:
        names = ", ".join(Stage.__members__)
        problems.append(f"stages=[] does nothing: choose from {names}.")
    problems += fields.problems(Root, config)
    for rule in RULES:
        problems += rule(config)
    if problems:
        raise ConfigError(problems)


def _missing(node: Any, where: str = "") -> Iterator[str]:
    """The keys with the value ``???``; `OmegaConf.missing_keys` is slower, since it resolves every interpolation."""
    pairs: Iterable[tuple[str, Any]] = ()
    if isinstance(node, dict):
        pairs = ((f"{where}.{key}" if where else str(key), value) for key, value in node.items())
    elif isinstance(node, list):
        pairs = ((f"{where}[{place}]", value) for place, value in enumerate(node))
    for key, value in pairs:
        if isinstance(value, str) and value == "???":
            yield key
        yield from _missing(value, key)
