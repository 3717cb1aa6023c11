"""Private parts of transformers: of its models, its configurations and its trainer."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM
from transformers.utils import cached_file

TrainerClass = TypeVar("TrainerClass", bound=type[Any])


def encode_frames(encoder: Any, input_features: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Run Whisper's encoder, followed by a pooling of two, over the clips' frames instead of over 30 s.

    Args:
        encoder: the audio tower: a `Qwen2AudioEncoder`, or a module with the same submodules.
        input_features: ``[clips, mel bins, width]``, from `dramaeval.data.logmel.pad_features`.
        frames: int ``[clips]``, the number of valid mel frames.

    Returns:
        ``[clips, width // 4, d_model]``; steps after the first ``((frames - 1) // 2 + 1) // 2`` of a clip are padding.
        The valid steps equal those of the encoder's forward pass over 3,000 frames with a mask for the padding.

    Reaches: the modules of `Qwen2AudioEncoder` (``conv1``, ``conv2``, ``embed_positions``, ``layers``, ``avg_pooler``,
    ``layer_norm``) and its attributes ``dropout`` and ``layerdrop``.
    Why: the encoder's forward pass accepts 30 s only, and most of that is padding. With it, a LoRA step takes 1.1 times
    as long, full training 1.25 times (docs/benchmarks.md). ``model.plain=[encoder]`` selects it.
    Since: transformers 5.0.
    Remove when: the encoder accepts shorter inputs.
    """
    weight = encoder.conv1.weight
    # Offloaded weights are on the meta device until their layer is called.
    device = input_features.device if weight.is_meta else weight.device
    hidden = nn.functional.gelu(encoder.conv1(input_features.to(device, weight.dtype)))
    hidden = nn.functional.gelu(encoder.conv2(hidden)).permute(0, 2, 1)
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    # The module is called, because ZeRO-3 gathers weights on calls and not on reads.
    hidden = hidden + encoder.embed_positions(positions)
    hidden = nn.functional.dropout(hidden, p=encoder.dropout, training=encoder.training)
    valid = positions[None] < ((frames.to(hidden.device) - 1) // 2 + 1)[:, None]
    mask = None if bool(valid.all()) else valid[:, None, None, :]
    if mask is not None and attention_implementation(encoder.config) != "sdpa":
        lowest = torch.finfo(hidden.dtype).min
        mask = torch.zeros_like(mask, dtype=hidden.dtype).masked_fill(~mask, lowest)
    for layer in encoder.layers:
        if encoder.training and encoder.layerdrop > 0 and torch.rand([]) < encoder.layerdrop:
            continue
        hidden = layer(hidden, mask)
    pooled = encoder.avg_pooler(hidden.permute(0, 2, 1)).permute(0, 2, 1)
    return encoder.layer_norm(pooled)


class OwnWeightNames:
    """A mixin for subclasses of transformers models that keep the class name, the names of weights and the files.

    Reaches: `PreTrainedModel.is_custom_code`, and the class name as the key of transformers' weight conversions.
    Why: transformers renames the weights of checkpoints only for its own classes, and selects the renaming and the saved
    ``architectures`` by the class name.
    Since: transformers 5.10.
    Remove when: transformers converts the weights of subclasses too.
    """

    @classmethod
    def is_custom_code(cls) -> bool:
        """Return False: the modules are those of transformers."""
        return False


def carrier_mask(flags: torch.Tensor, copies: int) -> torch.Tensor:
    """A mask that a language model passes to its attention unchanged.

    Args:
        flags: bool ``[rows, width]``.
        copies: length of the third dimension.

    Returns:
        uint8 ``[rows, 1, copies, width]``; no other mask has this type.

    Reaches: `transformers.masking_utils`, which returns masks of four dimensions and any type unchanged.
    Why: the attention of shared prefixes needs the layout of a batch. Decoders build masks of different forms (Qwen and
    Gemma a dictionary by kind of layer, Llama a tensor), but all of them pass on a tensor of four dimensions.
    Since: transformers 5.0.
    Remove when: decoders pass further arguments to a registered attention.
    """
    rows, width = flags.shape
    return flags.to(torch.uint8)[:, None, None].expand(rows, 1, copies, width)


def cache_argument(decoder: nn.Module) -> str:
    """The name of a language model's argument for its cache of keys and values.

    Reaches: the signature of the decoder's ``forward``.
    Why: transformers 5.24 renamed ``past_key_values`` to ``cache``; PEFT (0.21) still passes the old name.
    Since: transformers 5.24.
    Remove when: the supported versions of transformers and PEFT all use the new name.
    """
    names = inspect.signature(decoder.forward).parameters
    return "cache" if "cache" in names else "past_key_values"


def attention_implementation(config: Any) -> str | None:
    """The name of the attention implementation that a model uses.

    Reaches: ``PreTrainedConfig._attn_implementation``.
    Why: transformers has `PreTrainedModel.set_attn_implementation`, but no public attribute with the name.
    Since: transformers 5.0.
    Remove when: transformers has a public attribute.
    """
    return config._attn_implementation


def forget_attention_implementation(config: Any) -> None:
    """Remove the attention implementation that a configuration file names.

    Reaches: ``PreTrainedConfig._attn_implementation``.
    Why: a file can name a kernel on the hub, which transformers would download and run.
    Since: transformers 5.0.
    Remove when: transformers ignores the name of a kernel in a file.
    """
    config._attn_implementation = None


def model_class_for(config: Any, *, causal_lm: bool = False) -> Any | None:
    """The transformers class of a model's configuration; None if transformers has none.

    Args:
        config: the model's configuration.
        causal_lm: whether to return the class with a vocabulary head.

    Reaches: ``AutoModel._model_mapping``.
    Why: the judge's class extends transformers' class, and `AutoModel` returns only instances of it.
    Since: transformers 5.0.
    Remove when: the Auto classes have a method that returns the class.
    """
    mapping = (AutoModelForCausalLM if causal_lm else AutoModel)._model_mapping
    if type(config) not in mapping:
        return None
    classes = mapping[type(config)]
    # A few configurations belong to several classes; the first class is the usual one.
    return classes[0] if isinstance(classes, tuple | list) else classes


def takes_registered_attention(model_class: Any) -> bool:
    """Whether a model computes its attention with a registered implementation.

    Reaches: ``PreTrainedModel._supports_attention_backend``.
    Why: an architecture with another computation of attention ignores a shared prefix.
    Since: transformers 5.0.
    Remove when: transformers has a public attribute.
    """
    return bool(model_class._supports_attention_backend)


def checkpoint_hooks(cls: TrainerClass) -> TrainerClass:
    """Let transformers call a trainer's hooks when it writes and reads checkpoints.

    The class defines:

    * ``checkpoint_files(folder)``: a context manager in which a checkpoint is written;
    * ``load_weights(folder, best)``: reads the weights of the checkpoint to resume from, or of the best checkpoint at
      the end of training, and returns True; returns False if transformers reads them correctly.
    """

    trainer: Any = cls

    def _save_checkpoint(self: Any, model: Any, trial: Any) -> None:
        """Replaces `Trainer._save_checkpoint`, which it calls within `checkpoint_files`.

        Why: a checkpoint is marked as unfinished before its first file is written and sealed after its last file, and
        older checkpoints are deleted only after that. The callback ``on_save`` runs after transformers has deleted
        older checkpoints.
        Since: transformers 5.0. TRL replaces the same method.
        Remove when: transformers calls a callback before it writes a checkpoint, and deletes after ``on_save``.
        """
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with self.checkpoint_files(folder):
            super(trainer, self)._save_checkpoint(model, trial)

    def _load_from_checkpoint(self: Any, resume_from_checkpoint: str, model: Any = None) -> None:
        """Replaces `Trainer._load_from_checkpoint` for judges whose weights that method does not read.

        Why: (1) ``save_pretrained`` renames the weights of some architectures, for example Qwen2-Audio; transformers'
        trainer looks for the names of the modules, finds none, and continues with the weights in memory. (2) PEFT
        saves AdaLoRA without its unused ranks and their importance.
        Since: transformers 5.0; the fault is in 5.24.
        Remove when: the plain trainer in the contract test resumes a fully trained Qwen2-Audio with its saved weights,
        and PEFT saves the state of AdaLoRA's allocator.
        """
        if not self.load_weights(Path(resume_from_checkpoint), best=False):
            super(trainer, self)._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self: Any) -> None:
        """Replaces `Trainer._load_best_model` for the same judges.

        Why, since and removal: as `_load_from_checkpoint`.
        """
        if not self.load_weights(Path(self.state.best_model_checkpoint), best=True):
            super(trainer, self)._load_best_model()

    for method in (_save_checkpoint, _load_from_checkpoint, _load_best_model):
        setattr(cls, method.__name__, method)
    return cls


def file_if_exists(source: str, name: str, **arguments: Any) -> str | None:
    """The path of a file of a model in a folder or on the hub, or None if the model has no such file.

    Reaches: the argument ``_raise_exceptions_for_missing_entries`` of ``transformers.utils.cached_file``.
    Why: a missing file and an unreachable hub raise the same error, and only the second is one for the user.
    Since: transformers 5.23.
    Remove when: a public argument of ``cached_file`` does the same.

    Args:
        source: the folder, or the model's name on the hub.
        name: the file's name.
        arguments: further arguments of ``cached_file``.
    """
    return cached_file(source, name, _raise_exceptions_for_missing_entries=False, **arguments)
