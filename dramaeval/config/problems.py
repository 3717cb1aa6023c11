"""Problems of a configuration: the error that lists them, a collector of them, and hints at similar names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from dramaeval.errors import UserFacingError

#: Common names of arguments, each with the names that PEFT and transformers use.
SYNONYMS = {
    "rank": ("r", "init_r"),
    "lora_rank": ("r",),
    "lora_r": ("r",),
    "alpha": ("lora_alpha",),
    "dropout": ("lora_dropout",),
    "lr": ("learning_rate",),
    "epochs": ("num_train_epochs",),
    "steps": ("max_steps",),
    "batch_size": ("per_device_train_batch_size",),
    "warmup": ("warmup_steps",),
    "scheduler": ("lr_scheduler_type",),
    "virtual_tokens": ("num_virtual_tokens",),
}


class ConfigError(UserFacingError, ValueError):
    """A configuration that cannot run; the message lists every problem with its key and its fix.

    Args:
        problems: the problems, or a single one.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        many = "problem" if len(self.problems) == 1 else "problems"
        lines = "\n".join(f"  {number}. {text}" for number, text in enumerate(self.problems, 1))
        super().__init__(f"The configuration has {len(self.problems)} {many}:\n{lines}")

    def __reduce__(self) -> tuple[type[ConfigError], tuple[Sequence[str]]]:
        """Pickle the problems; a process of a run sends the error to the others."""
        return type(self), (self.problems,)


class ProblemCollector:
    """Collects the problems of several steps, so that they are reported together.

    Raises:
        ConfigError: at the end of the ``with`` block; lists all problems.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __enter__(self) -> ProblemCollector:
        return self

    def collect(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """The result of a step; None if the step raises a `UserFacingError`."""
        try:
            return step(*arguments)
        except ConfigError as error:
            self.problems += error.problems
        except UserFacingError as error:
            self.problems.append(str(error))
        return None

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None and self.problems:
            raise ConfigError(self.problems)


def near_matches(key: str, known: Iterable[str], cutoff: float = 0.5) -> list[str]:
    """The known names that resemble a key, the most similar first; upper and lower case do not matter."""
    by_lower = {name.lower(): name for name in known}
    synonyms = [name for name in SYNONYMS.get(key, ()) if name in by_lower]
    return synonyms or [
        by_lower[name] for name in get_close_matches(key.lower(), by_lower, 3, cutoff)
    ]


def near_match_hint(key: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """The text `` Did you mean NAME?`` if an unknown key resembles a known name; else an empty text."""
    return did_you_mean(near_matches(key, known, cutoff))


def hint_or_names(key: str, known: Iterable[str]) -> str:
    """The text of `near_match_hint`; if it is empty, a list of the known names."""
    return near_match_hint(key, known) or f" There are {', '.join(known)}."


def did_you_mean(names: Sequence[str]) -> str:
    """The text `` Did you mean NAME or NAME?`` with at most three names; empty without names."""
    return f" Did you mean {' or '.join(names[:3])}?" if names else ""


def not_among(key: str, value: object, choices: Sequence[str] | Mapping[str, Any]) -> str:
    """The message about a value that is not among the choices."""
    hint = near_match_hint(str(value), choices, 0.6)
    return f"{key}={value} is not known; choose one of {', '.join(choices)}.{hint}"


def require_choice(key: str, value: object, choices: Sequence[str]) -> None:
    """Raise ValueError if the value of a setting is not one of its choices."""
    if value not in choices:
        raise ValueError(not_among(key, value, choices))
