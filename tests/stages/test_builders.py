"""Objects of a run that cannot be built: the reason is that of the class, with its place if it is an error in code."""

import pytest
from transformers import TrainerCallback

from dramaeval.config.problems import ConfigError
from dramaeval.stages import builders

ME = __name__


class Key(TrainerCallback):
    """Its code has an error."""

    def __init__(self, **_):
        {}["missing"]


class Type(TrainerCallback):
    """Its code has an error of the class that also reports wrong arguments."""

    def __init__(self, **_):
        len(3)


class Value(TrainerCallback):
    """It refuses its arguments."""

    def __init__(self, **_):
        raise ValueError("strength=3 must be below 1.")


class Arguments(TrainerCallback):
    """It lacks an argument."""

    def __init__(self, *, strength, **_):
        pass


def _task(composed, name):
    config = composed("task=role")
    config.task._target_ = f"{ME}.{name}"
    return builders.build_task(config)


def _labels(composed, name):
    labels = f"+task.label_policies.mine={{_target_: {ME}.{name}}}"
    return builders.build_task(composed("task=role", "task.labels=mine", labels))


def _model(composed, name):
    config = composed("model=tiny")
    config.model._target_ = f"{ME}.{name}"
    return builders.build_family(config)


def _metric(composed, name):
    metric = f"evaluation.metrics=[{{_target_: {ME}.{name}}}]"
    return builders.build_metrics(composed(metric))


def _callback(composed, name):
    return builders.build_callbacks(
        composed(f"+callbacks.mine={{_target_: {ME}.{name}}}"), object()
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Key", r"KeyError: 'missing' \(.*test_builders.py:\d+\)"),
        ("Type", r"TypeError: object of type 'int' has no len\(\) \(.*test_builders.py:\d+\)"),
        ("Value", r"strength=3 must be below 1\.$"),
        ("Arguments", r"missing 1 required keyword-only argument: 'strength'$"),
    ],
)
@pytest.mark.parametrize("build", [_task, _labels, _model, _metric, _callback])
def test_the_reason_of_a_class_that_cannot_be_built(composed, build, name, reason):
    with pytest.raises(ConfigError, match=reason):
        build(composed, name)
