"""Where a judge's weights come from, and what is known of its architecture.

A *family* knows one architecture: its transformers classes, where its parts are, how many tokens a clip
takes. It is what a ``configs/model/*.yaml`` instantiates. Families are cheap to make; nothing is read before
`Family.load`.
"""

from __future__ import annotations

import logging
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from urllib.parse import urlsplit

import torch
import transformers
from safetensors import SafetensorError
from transformers.utils.logging import disable_progress_bar

from dramaeval.models.errors import ModelError
from dramaeval.models.forward import shared_prefix as branches
from dramaeval.models.forward.judge_model import HEAD, REGRESSION, SCORE_HEAD
from dramaeval.models.forward.last_layer import proved
from dramaeval.models.quantization import (
    keep_as_loaded,
    only_language_model,
    require_language_model_only,
)

log = logging.getLogger(__name__)

MORE_THAN_WEIGHTS = (
    "is a pickle that holds more than weights, and reading it could run code: it is not read. Save the weights "
    "as safetensors where you trust them."
)
NEEDS_HEAD = "scores with a regression head: set model.head=regression to use it."


class Family(ABC):
    """One architecture of audio language model.

    Args:
        path: a local folder or a name on the hub.
        revision: branch, tag or commit on the hub.
        dtype: of the weights; auto is bfloat16 on a GPU that has it, else float32.
        attention: transformers' attention implementation for the language model.
        trust_remote_code: whether code that comes with a checkpoint may run.
        architecture: the checkpoint's configuration values, so that a plan needs no files.
        device_map: where the parts go, as transformers takes it (``auto``, ``cpu``, or module to device), to
            spread a model that only evaluates; None puts all of it on the run's device.
        offload_folder: takes the weights that ``device_map`` leaves on disk.
        freeze_audio: in full fine-tuning, whether the audio tower keeps its weights.
        train_projector: in full fine-tuning, whether the projector is trained.
        head: what scores are read from: ``vocabulary``, the tokens of the scale, or ``regression``, a linear
            layer on the last hidden state that is trained with the rest.
        plain: what is done as transformers does it, slower and the same but for dropout's draws, to compare
            with: ``log_mel`` and ``encoder`` over 30 s whatever the clip's length, ``last_layer`` at every
            position, ``head`` (and with it the last layer) at every position. Naming ``last_layer`` where it is
            computed whole anyway (see `dramaeval.models.forward.last_layer`) changes nothing.

    Raises:
        ValueError: ``plain`` names what this architecture has no quicker way for.
    """

    #: What `plain` may name: where the judge has a quicker way than transformers.
    quick: Sequence[str] = ("log_mel", "encoder", "head", "last_layer")

    #: Whether the judge hears the clip. One that only reads gets no audio part in its prompts.
    takes_audio: bool = True
    #: With what the chat format ends an answer; see `end_of_turn`.
    turn_end: str = "<|im_end|>"
    #: The parts that `adapt` names, as module paths in the plain transformers model.
    parts: Mapping[str, str]
    #: The linear layers of each part that adapters attach to by default, by the end of their names.
    projections: Mapping[str, Sequence[str]]

    def __init__(
        self,
        *,
        path: str,
        revision: str | None = None,
        dtype: str = "auto",
        attention: str = "sdpa",
        trust_remote_code: bool = False,
        architecture: Mapping[str, Any] | None = None,
        device_map: Any = None,
        offload_folder: str | None = None,
        freeze_audio: bool = False,
        train_projector: bool = True,
        head: str = "vocabulary",
        plain: Sequence[str] = (),
    ) -> None:
        if unknown := [one for one in plain if one not in self.quick]:
            raise ValueError(
                f"model.plain={list(plain)}: {', '.join(map(repr, unknown))} is nothing that this model does "
                f"otherwise than transformers; it can name {', '.join(self.quick)}."
            )
        self.path = path
        self.revision = revision
        self.dtype = dtype
        self.attention = attention
        self.trust_remote_code = trust_remote_code
        self.architecture = architecture
        self.device_map = device_map
        self.offload_folder = offload_folder
        self.freeze_audio = freeze_audio
        self.train_projector = train_projector
        self.head = head
        self.plain = frozenset(plain)

    @abstractmethod
    def model_class(self) -> Any:
        """The judge's model class, an `AnsweringModel`."""

    @abstractmethod
    def configuration(self, values: Mapping[str, Any]) -> Any:
        """A transformers configuration from ``architecture`` values."""

    @abstractmethod
    def audio_tokens(self, frames: int) -> int:
        """How many prompt positions a clip of so many mel frames takes."""

    def encoded_frames(self, frames: int) -> int:
        """How many mel frames the audio tower goes through for a clip of so many."""
        return frames

    @abstractmethod
    def decoder_of(self, model: Any) -> Any:
        """The language model inside a loaded model, for its attention implementation."""

    def render(self, processor: Any, messages: list[dict[str, Any]]) -> str | list[int]:
        """A question's messages as text, up to where the answer begins; or as tokens right away."""
        return processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def tokenise(self, processor: Any, text: str) -> list[int]:
        """The tokens of a text, special ones in it by their names, and none beside it."""
        tokenizer = getattr(processor, "tokenizer", processor)
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    def end_of_turn(self, processor: Any) -> str:
        """The text with which the model's chat format ends an answer."""
        return self.turn_end

    def shared_prefix_problem(self) -> str | None:
        """Why questions cannot share a prefix in this architecture; None where they can."""
        return None

    def supports_shared_prefix(self) -> bool:
        """Whether questions about a clip can share their beginning."""
        return self.attention == "sdpa" and self.shared_prefix_problem() is None

    def check_shared_prefix(self, model: Any) -> None:
        """Where the architecture is not known beforehand, prove on the loaded model that they can."""
        return

    #: Weights that are constants of the architecture and never trained, by their full names.
    fixed: Sequence[str] = ()

    def freeze_fixed(self, model: Any) -> None:
        """Freeze the constants of the architecture, and the parts that are not to be trained."""
        kept = {"audio": self.freeze_audio, "projector": not self.train_projector}
        paths = [f".{path}." for part, path in self.parts.items() if kept.get(part)]
        if self.head == REGRESSION:
            vocabulary = model.get_output_embeddings().weight
            if vocabulary is not model.get_input_embeddings().weight:
                vocabulary.requires_grad_(False)  # nothing is read from it
        for name, weight in model.named_parameters():
            if name.endswith(tuple(self.fixed)) or any(path in f".{name}" for path in paths):
                weight.requires_grad_(False)

    def load(
        self,
        device: torch.device,
        checkpoint: Path | None = None,
        dtype: torch.dtype | None = None,
        quantization: Any = None,
    ) -> Any:
        """The model with its weights, in evaluation mode, on a device.

        Args:
            device: where it goes.
            checkpoint: a folder with a full model of this family, in place of ``path``.
            dtype: of the weights; None takes what ``dtype`` of the family says.
            quantization: `transformers.BitsAndBytesConfig` for the language model, or None; every other
                part stays as it is.

        Raises:
            ModelError: the files are not there, not reachable, or another architecture's; or other parts than
                the language model came out quantised.
        """
        branches.register()
        disable_progress_bar()
        source = str(checkpoint) if checkpoint else self.path
        dtype = dtype or self.torch_dtype(device)
        extra = self._placement()
        if self.head == REGRESSION:
            extra["config"] = self._with_head(self._described(checkpoint))
        if quantization is not None:
            skeleton = self.skeleton(checkpoint)
            extra["quantization_config"] = only_language_model(quantization, self, skeleton, dtype)
            extra.setdefault("device_map", {"": device})
        model = self._reading(
            source,
            lambda: self.model_class().from_pretrained(
                source,
                dtype=dtype,
                attn_implementation=self.attention,
                **extra,
                **self._hub_arguments(checkpoint),
            ),
        )
        if hasattr(model, SCORE_HEAD) and self.head != REGRESSION:
            raise ModelError(f"The judge in {source} {NEEDS_HEAD}")
        if quantization is not None:
            require_language_model_only(model, self)
            keep_as_loaded(model)
        # With a device map the weights are where they belong already.
        model = (model if "device_map" in extra else model.to(device)).eval()
        self._set_up(model)
        if model.reads_last and not proved(self.decoder_of(model)):
            log.warning(
                "The last layer of %s cannot be computed at the answers alone with transformers %s, and is "
                "computed whole, as with model.plain=[last_layer].",
                source,
                transformers.__version__,
            )
            model.plain = self.plain | {"last_layer"}
        return model

    def _set_up(self, model: Any) -> None:
        """What of the settings a model has to know."""
        model.plain = self.plain
        if self.attention == "sdpa":
            self.decoder_of(model).set_attn_implementation(branches.NAME)

    def _placement(self) -> dict[str, Any]:
        if self.device_map is None:
            return {}
        folder = {"offload_folder": self.offload_folder} if self.offload_folder else {}
        return {"device_map": self.device_map, **folder}

    def processor(self, checkpoint: Path | None = None) -> Any:
        """The processor: tokenizer, feature extractor and chat template."""
        from transformers import AutoProcessor

        source = str(checkpoint) if checkpoint else self.path
        return self._reading(
            source,
            lambda: AutoProcessor.from_pretrained(source, **self._hub_arguments(checkpoint)),
        )

    def skeleton(self, checkpoint: Path | None = None) -> Any:
        """The model without weights (on the meta device), from its architecture alone."""
        if self.architecture and checkpoint is None:
            configuration = self.configuration(self.architecture)
        else:
            configuration = self._described(checkpoint)
        branches.register()
        with torch.device("meta"):
            model = self.model_class()(self._with_head(configuration))
        self._set_up(model)
        return model

    def _described(self, checkpoint: Path | None) -> Any:
        """The configuration that stands beside the weights."""
        source = str(checkpoint) if checkpoint else self.path
        reader = self.model_class().config_class
        configuration = self._reading(
            source, lambda: reader.from_pretrained(source, **self._hub_arguments(checkpoint))
        )
        # A file can name a kernel on the hub here, which transformers would download and run.
        configuration._attn_implementation = None
        return configuration

    def _with_head(self, configuration: Any) -> Any:
        """The configuration with the head that is asked for.

        Raises:
            ModelError: it is that of a judge with a regression head, and none is asked for.
        """
        if self.head == REGRESSION:
            setattr(configuration, HEAD, REGRESSION)
        elif getattr(configuration, HEAD, None) == REGRESSION:
            raise ModelError(f"The judge in {self.path} {NEEDS_HEAD}")
        return configuration

    def torch_dtype(self, device: torch.device) -> torch.dtype:
        """The dtype of the weights on a device."""
        if self.dtype != "auto":
            return {
                "float32": torch.float32,
                "bfloat16": torch.bfloat16,
                "float16": torch.float16,
            }[self.dtype]
        if device.type == "cuda" and torch.cuda.is_bf16_supported():
            return torch.bfloat16
        return torch.float32

    def _hub_arguments(self, checkpoint: Path | None) -> dict[str, Any]:
        local = checkpoint is not None or Path(self.path).is_dir()
        return {
            "revision": None if local else self.revision,
            "trust_remote_code": self.trust_remote_code,
            # Without this the hub's client tries for half a minute a file before it takes the cached one.
            "local_files_only": local or not _hub_reachable(),
        }

    def _reading(self, source: str, read: Any) -> Any:
        """Run a reader of model files; say in a line what is wrong when they cannot be had."""
        local = Path(source)
        if not local.is_dir() and (local.is_absolute() or source.startswith((".", "~"))):
            raise ModelError(
                f"model.path={source} is not a folder. Give the folder that holds config.json and the "
                "safetensors files, or a name on the hub like Qwen/Qwen2-Audio-7B-Instruct."
            )
        try:
            return read()
        except UnpicklingError as error:
            raise ModelError(f"The model {source} {MORE_THAN_WEIGHTS}") from error
        except (OSError, ValueError, SafetensorError) as error:
            if not local.is_dir() and not _hub_reachable():
                raise ModelError(
                    f"The model {source} is not in the local cache and the hub cannot be reached from here. "
                    "Download it elsewhere and point to it: model.path=/folder/of/the/model."
                ) from None
            if "trust_remote_code" in str(error):
                raise ModelError(
                    f"The model {source} brings Python code along, which runs only if you say so: "
                    "model.trust_remote_code=true, or Judge.load(…, trust_remote_code=True)."
                ) from None
            reason = str(error).strip().splitlines()
            raise ModelError(
                f"The model {source} could not be read: {reason[0] if reason else type(error).__name__}"
            ) from error


@lru_cache(maxsize=1)
def _hub_reachable() -> bool:
    """Whether the hub answers at all; asked once a process."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (80 if address.scheme == "http" else 443)
    proxied = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"))
    if proxied:
        return True
    try:
        socket.create_connection((address.hostname or "", port), timeout=5).close()
    except OSError:
        return False
    return True
