"""A model behind an OpenAI-compatible chat endpoint: its settings, in the place of a model family.

This process has no weights of it. `dramaeval.evaluation.endpoint` sends it questions, and
`dramaeval.stages.api_context` makes it usable in the stages.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import torch

from dramaeval.models.errors import ModelError

ANSWERS = ("auto", "logprobs", "samples")
_LOCAL = ("localhost", "127.0.0.1", "::1")
#: Settings of all families that have no meaning for a model without weights.
_OF_WEIGHTS = (
    "revision", "dtype", "attention", "device_map", "offload_folder", "trust_remote_code", "architecture",
    "freeze_audio", "freeze_llm", "train_projector", "head", "plain",
)  # fmt: skip
_MINIMA = {
    "top_logprobs": 1, "samples": 1, "max_tokens": 1, "concurrency": 1, "retries": 0, "temperature": 0,
    "price_input": 0, "price_audio": 0, "price_output": 0,
}  # fmt: skip


@dataclass(kw_only=True)
class ApiModel:
    """A chat model at an address, with the attributes of a `dramaeval.models.families.base.Family` that scoring needs.

    ``configs/model/api.yaml`` describes the arguments. The arguments from ``revision`` to ``plain`` are for models with
    weights and must have their defaults.

    Raises:
        ValueError: values are invalid; the message lists all of them.
    """

    base_url: str
    name: str
    key_variable: str | None = "OPENAI_API_KEY"
    answers: str = "auto"
    top_logprobs: int = 20
    samples: int = 10
    temperature: float = 1.0
    max_tokens: int = 512
    max_tokens_field: str = "max_tokens"
    extra_body: dict[str, Any] = field(default_factory=dict)
    concurrency: int = 8
    requests_per_minute: float | None = None
    timeout: float = 120.0
    retries: int = 6
    cache: str | None = None
    price_input: float | None = None
    price_audio: float | None = None
    price_output: float | None = None
    path: str = "api"
    revision: Any = None
    dtype: str = "auto"
    attention: str = "sdpa"
    device_map: Any = None
    offload_folder: str | None = None
    trust_remote_code: bool = False
    architecture: Any = None
    freeze_audio: bool = False
    freeze_llm: bool = False
    train_projector: bool = True
    head: str = "vocabulary"
    plain: list[str] = field(default_factory=list)

    #: Attributes of `Family`, with the values for a model that takes clips as files.
    takes_audio = True
    names_windows = False
    longest_clip = float("inf")
    parts: Mapping[str, str] = field(default_factory=dict, init=False)
    new_parts: Sequence[str] = field(default=(), init=False)

    def __post_init__(self) -> None:
        if problems := [*self._address_problems(), *self._value_problems()]:
            raise ValueError(" ".join(problems))
        self.base_url = self.base_url.rstrip("/")
        #: The name of the model in fingerprints and on pages.
        self.path = f"{self.name} at {self.base_url}"

    def _address_problems(self) -> list[str]:
        try:
            address = urlsplit(self.base_url)
            known = address.scheme in ("http", "https") and address.hostname and address.port != 0
        except ValueError:  # of brackets, or of a port that is no number up to 65535
            known = False
        if not known or not all("!" <= character <= "~" for character in self.base_url):
            return [
                f"base_url={self.base_url} is not an address: give it with http:// or https://, such as "
                "http://localhost:8000/v1."
            ]
        if address.username or address.password or address.query or address.fragment:
            return [
                "base_url holds a user, a password, a query or a fragment, which would be saved with the settings: give the "
                "address alone, and the key as an environment variable (key_variable)."
            ]
        return []

    def _value_problems(self) -> list[str]:
        problems = [
            f"{name}={getattr(self, name)}: a model behind an endpoint has no weights here; leave it out."
            for name in _OF_WEIGHTS
            # The default of plain is a new list, and not an attribute of the class.
            if getattr(self, name) != getattr(ApiModel, name, [])
        ]
        problems += [
            f"{name}={getattr(self, name)} must be a finite number, {least} or more."
            for name, least in _MINIMA.items()
            if getattr(self, name) is not None and not least <= getattr(self, name) < math.inf
        ]
        if self.path != "api":
            problems.append(f"path={self.path}: an endpoint has no folder: give name and base_url.")
        if self.answers not in ANSWERS:
            problems.append(f"answers={self.answers} must be one of {', '.join(ANSWERS)}.")
        if self.answers != "logprobs" and self.samples > 1 and self.temperature == 0:
            problems.append("temperature=0 makes all samples alike: give temperature=1.")
        for name in ("timeout", "requests_per_minute"):
            if (value := getattr(self, name)) is not None and not 0 < value < math.inf:
                problems.append(f"{name}={value} must be a finite number above 0.")
        if (self.price_input is None) != (self.price_output is None):
            problems.append("The cost needs price_input and price_output: give both.")
        reserved = {"model", "messages", "n", "logprobs", "top_logprobs", "stream"}
        problems += [
            f"extra_body.{key} is set by the run: leave it out."
            for key in sorted(reserved & set(self.extra_body))
        ]
        return problems

    def key_problem(self) -> str | None:
        """The problem of a missing key for an endpoint on another machine, or of a key that no request can hold; or None."""
        host = urlsplit(self.base_url).hostname
        if not all("!" <= character <= "~" for character in self.key() or ""):
            return (
                f"The key in {self.key_variable} has a space, a line break or a character outside ASCII: set the "
                "variable to the key alone."
            )
        if self.key_variable is None or self.key() or host in _LOCAL:
            return None
        return (
            f"The environment has no {self.key_variable} with the key of {self.base_url}: set it, name another "
            "variable as model.key_variable=NAME, or set model.key_variable=null for an endpoint without keys."
        )

    def key(self) -> str | None:
        """The key from the environment; None if there is none."""
        return os.environ.get(self.key_variable) or None if self.key_variable else None

    @property
    def url(self) -> str:
        """The address of chat completions."""
        return f"{self.base_url}/chat/completions"

    def shared_prefix_problem(self) -> str | None:
        """None: the endpoint decides how it computes prompts."""
        return None

    def files_problem(self, checkpoint: Path | None = None) -> str | None:
        """None: there are no files."""
        return None

    def torch_dtype(self, device: torch.device) -> torch.dtype:
        """float32; the value has no effect, because there are no weights."""
        return torch.float32

    def load(self, *arguments: Any, **keywords: Any) -> NoReturn:
        """Raise ModelError, because there are no weights to load."""
        raise ModelError(
            f"{self.path} has no weights here: score with launch.py model=api stages=[score] or stages=[evaluate]."
        )

    processor = skeleton = load
