"""The interface between one architecture and the rest of the program.

A new architecture is one file beside this one, with two classes, and one YAML:

- the judge's model inherits from `JudgeModel` and then from the transformers class, and has the name of that class. It
  overrides `JudgeModel.encode_audio` and `JudgeModel.project_audio`, and the properties `JudgeModel.audio_token` and
  `JudgeModel.decoder` where the transformers class has other names for them;
- the `Family` defines ``parts``, ``projections``, ``judge_class`` and `Family.audio_tokens`. Every other method has
  a default that suits an architecture with a chat template and a processor;
- ``configs/model/NAME.yaml`` has the family as ``_target_``.

No family builds an attention mask: `JudgeModel.answer_logits` hands the layout of a shared prefix to the language model
as a mask (`dramaeval.models.forward.shared_prefix`). `Family.shared_prefix_problem` refuses language models that would
not use it, and `Family.check_shared_prefix` compares both layouts on the loaded model, unless its language model is one
of `dramaeval.models.forward.prefix_support.TESTED_DECODERS`.

docs/guides/extending.md has the steps, with `dramaeval.models.families.music_flamingo` as the example.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from accelerate import init_empty_weights
from transformers.initialization import no_init_weights
from transformers.utils.logging import disable_progress_bar

from dramaeval.compat.bitsandbytes import keep_packing
from dramaeval.compat.deepspeed import unpartitioned_weights
from dramaeval.compat.glibc import keep_freed_memory
from dramaeval.compat.transformers import forget_attention_implementation
from dramaeval.data.logmel import LogMel, PaddedLogMel
from dramaeval.models.errors import ModelError
from dramaeval.models.forward import prefix_support, shared_prefix
from dramaeval.models.forward.judge_model import HEAD, REGRESSION, SCORE_HEAD
from dramaeval.models.loading import ModelFiles
from dramaeval.models.planning.flops import Shape
from dramaeval.models.quantization import check_quantised, for_language_model

log = logging.getLogger(__name__)

#: Why a judge with a regression head is refused; the sentence begins with its name.
NEEDS_HEAD = "scores with a regression head: set model.head=regression to use it."
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Family(ABC):
    """One architecture of audio language model; nothing is read before a method needs it.

    Args:
        path: a local folder or a name on the hub.
        revision: branch, tag or commit on the hub.
        dtype: of the weights; auto is bfloat16 on a GPU that has it, else float32.
        attention: transformers' attention implementation of the language model.
        trust_remote_code: whether code that comes with a checkpoint may run.
        architecture: values of the checkpoint's configuration, so that a plan needs no files.
        device_map: where the parts go, as transformers takes it (``auto``, ``cpu``, or module to device), to spread a
            model that is only evaluated; None puts the complete model on the run's device.
        offload_folder: for the weights that ``device_map`` leaves on disk.
        freeze_audio: whether the audio tower keeps its weights in full fine-tuning.
        freeze_llm: whether the language model with its head keeps its weights in full fine-tuning.
        train_projector: whether the projector is trained in full fine-tuning, and beside an adapter where it is new.
        head: where scores are read from: ``vocabulary``, the tokens of the scale, or ``regression``, a linear layer on
            the last hidden state that is trained with the rest.
        plain: steps that are computed as transformers does, for comparison; slower and equal up to dropout. ``log_mel``
            and ``encoder`` work on 30 s whatever the clip's length, ``head`` on every position.

    Raises:
        ValueError: ``plain`` names a step that is not in `plain_options`.
    """

    # An architecture defines these.

    #: Module paths, in the plain transformers model, of the parts that ``adapt`` names: "llm", "audio", "projector".
    #: Without "audio" there is no tower to train, to keep encodings of, or to probe.
    parts: Mapping[str, str]
    #: For each part the names of the linear layers that get adapters by default.
    projections: Mapping[str, Sequence[str]]
    #: The judge's class, a `JudgeModel` and a transformers class; not needed if `model_class` is overridden.
    judge_class: ClassVar[Any]

    # These have defaults.

    #: For parts of other architectures that this one lacks a sentence with the settings in their place, for messages.
    absent: Mapping[str, str] = {}
    #: Whether prompts contain the clip; false for a model of text alone.
    takes_audio: bool = True
    #: The longest clip in seconds; above 30 with ``task.data.on_long=segments`` only.
    longest_clip: float = 30.0
    #: Whether each window of a clip above the encoder's input has an audio part of its own in the prompt; false where
    #: one placeholder stands for the whole clip.
    names_windows: bool = True
    #: The steps that ``plain`` may name: those that the judge computes in another way than transformers.
    plain_options: Sequence[str] = ("log_mel", "encoder", "head")
    #: The transform in the place of Whisper's, a `LogMel` that is built from a feature extractor and the longest clip in
    #: seconds; ``plain_options`` then lacks ``log_mel``.
    own_log_mel: ClassVar[Any] = None
    #: The text with which the chat format ends an answer; see `end_of_turn`.
    turn_end: str = "<|im_end|>"
    #: Full names, or their ends, of weights that are constants of the architecture and never trained.
    fixed: Sequence[str] = ()
    #: Parts of the names of weights that a judge does not use, and that are never trained.
    unused: Sequence[str] = ()
    #: Parts of the names of the language model's linear layers that a quantisation leaves in their precision.
    unquantised: Sequence[str] = ()
    #: Parts with new weights: an adapter is trained together with all their weights, see `parts_in_full`.
    new_parts: Sequence[str] = ()

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
        freeze_llm: bool = False,
        train_projector: bool = True,
        head: str = "vocabulary",
        plain: Sequence[str] = (),
    ) -> None:
        if unknown := [step for step in plain if step not in self.plain_options]:
            raise ValueError(
                f"model.plain={list(plain)}: {', '.join(map(repr, unknown))} is no step that this model computes "
                f"in another way than transformers; valid are {', '.join(self.plain_options)}."
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
        self.freeze_llm = freeze_llm
        self.train_projector = train_projector
        self.head = head
        self.plain = frozenset(plain)

    # What an architecture defines

    @abstractmethod
    def audio_tokens(self, frames: int) -> int:
        """Number of prompt positions of a clip of so many mel frames (10 ms each).

        Called for every clip when its prompt is encoded; equals the length of the clip's embeddings. A plan calls it
        with the number of started frames, which `log_mel` may exceed by one.
        """

    # What has a default

    def model_class(self) -> Any:
        """The class `judge_class`; overridden if the class depends on the checkpoint. Called before a model is built."""
        return self.judge_class

    def configuration(self, values: Mapping[str, Any]) -> Any:
        """A transformers configuration from the setting ``architecture``; called for a plan without files."""
        return self.model_class().config_class(**values)

    def positions(self, configuration: Any) -> int | None:
        """The longest sequence that a model has positions for; None without a limit. Called before a model is loaded."""
        return getattr(configuration.get_text_config(), "max_position_embeddings", None)

    def encoded_frames(self, frames: int) -> int:
        """Number of mel frames that the audio tower computes for a clip of so many; called by the plan."""
        return frames

    def shape(self, configuration: Any) -> Shape:
        """The sizes of the model, for the plan's estimates of memory and time."""
        return Shape.of(configuration)

    def processor(self, checkpoint: Path | None = None) -> Any:
        """The processor, with ``tokenizer``, ``feature_extractor``, ``audio_token`` and a chat template.

        Called once per run. A model of text alone returns its tokenizer.

        Args:
            checkpoint: a folder with a full model, in place of ``path``.

        Raises:
            ModelError: the files cannot be read.
        """
        from transformers import AutoProcessor

        return self.files(checkpoint).read(AutoProcessor.from_pretrained)

    def log_mel(self, processor: Any) -> LogMel:
        """The transform of a clip into the audio tower's input: Whisper's or `own_log_mel`; called once per run."""
        if self.own_log_mel is not None:
            return self.own_log_mel(processor.feature_extractor, self.longest_clip)
        transform = PaddedLogMel if "log_mel" in self.plain else LogMel
        return transform(processor.feature_extractor)

    def render(self, processor: Any, messages: list[dict[str, Any]]) -> str | list[int]:
        """A question's chat messages as text, up to where the answer begins, or directly as token ids.

        Called for every question. The placeholder of each clip occurs once.
        """
        return processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def tokenise(self, processor: Any, text: str) -> list[int]:
        """The token ids of a text, in which special tokens stand by name; none is added. Called for every question."""
        tokenizer = getattr(processor, "tokenizer", processor)
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    def end_of_turn(self, processor: Any) -> str:
        """The text with which the chat format ends an answer; called once per run."""
        return self.turn_end

    def shared_prefix_problem(self) -> str | None:
        """Why questions of this model cannot share a prefix, as a sentence; None where they can.

        Raises:
            ModelError: the model's configuration cannot be read.
        """
        return prefix_support.problem(self.read_configuration().get_text_config())

    def write_files(self) -> bool:
        """Write the files that `load` reads, where the family produces them; rank 0 calls it before loading.

        Returns:
            whether files were written.
        """
        return False

    def parts_in_full(self, adapted: Sequence[str]) -> list[str]:
        """The new parts of which an adapter's training trains every weight: those that get no adapter of their own.

        Args:
            adapted: the parts that get adapters.
        """
        return [part for part in self.new_parts if part not in {*adapted, *self.frozen_parts}]

    @property
    def frozen_parts(self) -> list[str]:
        """The parts that the settings leave untrained."""
        frozen = {
            "llm": self.freeze_llm,
            "audio": self.freeze_audio,
            "projector": not self.train_projector,
        }
        return [part for part in self.parts if frozen.get(part)]

    def freeze_fixed(self, model: Any) -> None:
        """Freeze the constants of the architecture, unused weights, and the parts that are not to be trained."""
        never = [*self.unused, *(f".{self.parts[part]}." for part in self.frozen_parts)]
        if self.freeze_llm:
            model.get_output_embeddings().weight.requires_grad_(False)
        if self.head == REGRESSION:
            vocabulary = model.get_output_embeddings().weight
            if vocabulary is not model.get_input_embeddings().weight:
                vocabulary.requires_grad_(False)  # no output of it is used
        for name, weight in model.named_parameters():
            if name.endswith(tuple(self.fixed)) or any(part in f".{name}" for part in never):
                weight.requires_grad_(False)

    # What every architecture gets

    def supports_shared_prefix(self) -> bool:
        """Whether questions about a clip can share their beginning."""
        return self.attention == "sdpa" and self.shared_prefix_problem() is None

    def check_shared_prefix(self, model: Any) -> None:
        """Compare answers with and without a shared prefix, where the tests do not cover the language model.

        Raises:
            ModelError: the answers differ.
        """
        kind = model.config.get_text_config().model_type
        if kind not in prefix_support.TESTED_DECODERS:
            prefix_support.check(model, kind)

    def files(self, checkpoint: Path | None = None) -> ModelFiles:
        """The model's files: those of ``path``, or of a folder in its place."""
        if checkpoint is not None:
            return ModelFiles(str(checkpoint), None, self.trust_remote_code)
        return ModelFiles(self.path, self.revision, self.trust_remote_code)

    def files_problem(self, checkpoint: Path | None = None) -> str | None:
        """Why the files that `load` reads cannot be read; see `ModelFiles.problem`."""
        return self.files(checkpoint).problem()

    def read_configuration(self, checkpoint: Path | None = None) -> Any:
        """The model's configuration: from ``architecture``, or from the files.

        Raises:
            ModelError: it cannot be read, or needs a regression head that is not configured.
        """
        if self.architecture and checkpoint is None:
            configuration = self.configuration(self.architecture)
        else:
            configuration = self.stored_configuration(checkpoint)
            forget_attention_implementation(configuration)
        if self.head == REGRESSION:
            setattr(configuration, HEAD, REGRESSION)
        elif getattr(configuration, HEAD, None) == REGRESSION:
            raise ModelError(f"The judge in {self.path} {NEEDS_HEAD}")
        return configuration

    def stored_configuration(self, checkpoint: Path | None = None) -> Any:
        """The configuration in the model's files."""
        return self.files(checkpoint).read(self.model_class().config_class.from_pretrained)

    def skeleton(self, checkpoint: Path | None = None) -> Any:
        """The model without weights: its parameters are on the meta device, its buffers have their values.

        Args:
            checkpoint: a folder with a full model, in place of ``path``.
        """
        configuration = self.read_configuration(checkpoint)
        # Initial values on the meta device have no effect, but take three quarters of the time.
        with init_empty_weights(), unpartitioned_weights(), no_init_weights():
            model = self.model_class()(configuration)
        model.tie_weights()  # left out together with the initial values
        self.configure(model)
        return model

    def load(
        self,
        device: torch.device,
        checkpoint: Path | None = None,
        dtype: torch.dtype | None = None,
        quantization: Any = None,
    ) -> Any:
        """The model with its weights, in evaluation mode.

        Args:
            device: where it goes.
            checkpoint: a folder with a full model of this family, in place of ``path``.
            dtype: of the weights; None takes the one of `torch_dtype`.
            quantization: `transformers.BitsAndBytesConfig` for the language model, or None.

        Raises:
            ModelError: the files cannot be read or are another architecture's, or layers outside the language model
                were quantised.
        """
        disable_progress_bar()
        if device.type == "cpu":
            keep_freed_memory(self.read_configuration(checkpoint).get_text_config().hidden_size)
        files, dtype = self.files(checkpoint), dtype or self.torch_dtype(device)
        arguments: dict[str, Any] = {}
        if self.device_map is not None:
            arguments["device_map"] = self.device_map
            if self.offload_folder:
                arguments["offload_folder"] = self.offload_folder
        if self.head == REGRESSION:
            arguments["config"] = self.read_configuration(checkpoint)
        if quantization is not None:
            arguments["quantization_config"] = for_language_model(
                quantization, self.parts, self.skeleton(checkpoint), dtype, self.unquantised
            )
            arguments.setdefault("device_map", {"": device})
        model = files.read(
            self.model_class().from_pretrained,
            dtype=dtype,
            attn_implementation=self.attention_implementations(),
            **arguments,
        )
        if hasattr(model, SCORE_HEAD) and self.head != REGRESSION:
            raise ModelError(f"The judge in {files.source} {NEEDS_HEAD}")
        if quantization is not None:
            check_quantised(model, self.parts)
            keep_packing(model)
        model = (model if "device_map" in arguments else model.to(device)).eval()
        self.configure(model)
        return model

    def configure(self, model: Any) -> None:
        """Give a judge the settings of its forward pass."""
        model.plain = self.plain
        if self.attention == "sdpa":
            shared_prefix.register()
            model.decoder.set_attn_implementation(shared_prefix.NAME)

    def attention_implementations(self) -> str | dict[str, str]:
        """The attention implementation to load a model with, or those of the parts of its configuration."""
        return self.attention

    def torch_dtype(self, device: torch.device) -> torch.dtype:
        """The dtype of the weights on a device."""
        if self.dtype != "auto":
            return _DTYPES[self.dtype]
        # A CUDA device on a machine without one is that of a plan for another machine.
        if device.type == "cuda" and (
            not torch.cuda.is_available() or torch.cuda.is_bf16_supported()
        ):
            return torch.bfloat16
        return torch.float32
