"""Private parts of transformers, of its models and of its trainer."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM

TrainerClass = TypeVar("TrainerClass", bound=type[Any])


def encode_frames(encoder: Any, input_features: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Run Whisper's encoder with a pooling of two over the frames of the clips, instead of over 30 s.

    Args:
        encoder: the audio tower, `Qwen2AudioEncoder` or one with the same modules.
        input_features: ``[clips, mel bins, width]`` as `dramaeval.data.logmel.pad_features` returns them.
        frames: int ``[clips]``, valid mel frames.

    Returns:
        ``[clips, width // 4, d_model]``; steps past ``((frames - 1) // 2 + 1) // 2`` of a clip are padding. The others
        equal those of the encoder's forward pass over 3,000 frames with a mask for the padding.

    Reaches: the modules of `Qwen2AudioEncoder` (``conv1``, ``conv2``, ``embed_positions``, ``layers``, ``avg_pooler``,
    ``layer_norm``) and its attributes ``dropout`` and ``layerdrop``.
    Why: its forward pass accepts 30 s only, most of which is padding: a LoRA step takes 1.1 times as long with it, full
    training 1.25 times (docs/benchmarks.md). ``model.plain=[encoder]`` uses it.
    Since: transformers 5.0.
    Remove when: the encoder accepts shorter inputs.
    """
    weight = encoder.conv1.weight
    # Offloaded weights are on the meta device until their layer is called.
    device = input_features.device if weight.is_meta else weight.device
    hidden = nn.functional.gelu(encoder.conv1(input_features.to(device, weight.dtype)))
    hidden = nn.functional.gelu(encoder.conv2(hidden)).permute(0, 2, 1)
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    # A call of the module, not a read of its weight: ZeRO-3 gathers weights on calls.
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
    """Mixed into a subclass of a transformers model that keeps its name, its weights and its files.

    Reaches: `PreTrainedModel.is_custom_code`, and the class name as the key of transformers' weight conversions.
    Why: transformers renames the weights of checkpoints only for its own classes, and finds the renaming and the saved
    ``architectures`` by the name of the class.
    Since: transformers 5.10.
    Remove when: the conversions are found for subclasses too.
    """

    @classmethod
    def is_custom_code(cls) -> bool:
        """False: the modules are transformers' own."""
        return False


def carrier_mask(flags: torch.Tensor, copies: int) -> torch.Tensor:
    """A mask that passes through a language model to its attention unchanged.

    Args:
        flags: bool ``[rows, width]``.
        copies: length of the third dimension.

    Returns:
        uint8 ``[rows, 1, copies, width]``; no other mask has this type.

    Reaches: `transformers.masking_utils`, which returns masks of four dimensions and any type unchanged.
    Why: the attention of shared prefixes needs their layout. Decoders pass masks in different forms: Qwen and Gemma a
    dictionary by kind of layer, Llama a tensor. All of them pass a tensor of four dimensions.
    Since: transformers 5.0.
    Remove when: decoders hand further arguments to a registered attention.
    """
    rows, width = flags.shape
    return flags.to(torch.uint8)[:, None, None].expand(rows, 1, copies, width)


def cache_argument(decoder: nn.Module) -> str:
    """The name under which a language model takes its cache of keys and values.

    Reaches: the signature of the decoder's ``forward``.
    Why: transformers 5.24 renamed ``past_key_values`` to ``cache``; PEFT (0.21) still passes the old name.
    Since: transformers 5.24.
    Remove when: transformers older than 5.24 and PEFT older than its own renaming are no longer supported.
    """
    return (
        "cache" if "cache" in inspect.signature(decoder.forward).parameters else "past_key_values"
    )


def attention_implementation(config: Any) -> str | None:
    """The name of the attention implementation that a model uses.

    Reaches: ``PreTrainedConfig._attn_implementation``.
    Why: transformers has `PreTrainedModel.set_attn_implementation`, but no public attribute with the name.
    Since: transformers 5.0.
    Remove when: there is a public attribute.
    """
    return config._attn_implementation


def forget_attention_implementation(config: Any) -> None:
    """Remove the attention implementation that a configuration file names.

    Reaches: ``PreTrainedConfig._attn_implementation``.
    Why: a file can name a kernel on the hub there, which transformers would download and run.
    Since: transformers 5.0.
    Remove when: transformers ignores a kernel's name in a file.
    """
    config._attn_implementation = None


def model_class_for(config: Any, *, causal_lm: bool = False) -> Any | None:
    """transformers' class for a configuration; None where it has none.

    Args:
        config: of a model.
        causal_lm: whether to return the class with a vocabulary head.

    Reaches: ``AutoModel._model_mapping``.
    Why: the judge's class extends transformers' class, which `AutoModel` only instantiates.
    Since: transformers 5.0.
    Remove when: the Auto classes have a method that returns the class.
    """
    mapping = (AutoModelForCausalLM if causal_lm else AutoModel)._model_mapping
    if type(config) not in mapping:
        return None
    classes = mapping[type(config)]
    # A few configurations belong to several classes; the first is the usual one.
    return classes[0] if isinstance(classes, tuple | list) else classes


def takes_registered_attention(model_class: Any) -> bool:
    """Whether a model computes its attention by the registered implementations.

    Reaches: ``PreTrainedModel._supports_attention_backend``.
    Why: an architecture that computes its attention differently ignores a shared prefix.
    Since: transformers 5.0.
    Remove when: there is a public attribute.
    """
    return bool(model_class._supports_attention_backend)


def checkpoint_hooks(cls: TrainerClass) -> TrainerClass:
    """Let transformers call a trainer's hooks when it writes and reads checkpoints.

    The class defines:

    * ``checkpoint_files(folder)``: a context manager around the writing of a checkpoint;
    * ``load_weights(folder, best)``: reads the weights of the checkpoint to resume, or of the best one at the end
      of training, and returns True; returns False where transformers reads them correctly.
    """

    trainer: Any = cls

    def _save_checkpoint(self: Any, model: Any, trial: Any) -> None:
        """Replaces `Trainer._save_checkpoint`: calls it within `checkpoint_files`.

        Why: a checkpoint is marked as unfinished before its first file is written and sealed after its last,
        and an older one is deleted only after that. The callback ``on_save`` runs after transformers has
        deleted older ones.
        Since: transformers 5.0. TRL replaces the same method.
        Remove when: transformers calls a callback before it writes a checkpoint, and deletes after ``on_save``.
        """
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with self.checkpoint_files(folder):
            super(trainer, self)._save_checkpoint(model, trial)

    def _load_from_checkpoint(self: Any, resume_from_checkpoint: str, model: Any = None) -> None:
        """Replaces `Trainer._load_from_checkpoint` for judges whose weights it does not read.

        Why: (1) ``save_pretrained`` renames the weights of some architectures, Qwen2-Audio among them;
        transformers' trainer looks for the names of the modules, finds none, and continues with the weights in
        memory. (2) PEFT saves AdaLoRA without its spare ranks and their importance.
        Since: transformers 5.0; the fault is in 5.24.
        Remove when: the contract test's plain trainer resumes a full Qwen2-Audio with its saved weights, and
        PEFT saves the state of AdaLoRA's allocator.
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
