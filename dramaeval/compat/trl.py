"""Private parts of TRL."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

TrainerClass = TypeVar("TrainerClass", bound=type[Any])


def grpo_hooks(cls: TrainerClass) -> TrainerClass:
    """Let a subclass of `trl.GRPOTrainer` prepare its passes and score their tokens in public methods.

    The class defines:

    * ``next_inputs(rows)``: the inputs of the next pass, a dictionary for ``compute_loss``;
    * ``score_completions(model, ids, mask, at_once)``: log-probabilities and entropies of the completions' tokens
      under a model. ``ids`` are the tokens without the prompt; ``ids``, ``mask`` and both results are
      ``[completions, width]``. ``at_once`` is the number of completions per forward pass, None for all.
    """

    def _prepare_inputs(self: Any, generation_batch: Any) -> dict[str, Any]:
        """Replaces `GRPOTrainer._prepare_inputs`.

        Why: TRL shuffles the completions of a generation and then divides them into passes, so that a pass holds parts
        of many groups. Here a group stays in one pass, which computes its prompt and clip once. The enumerated
        estimator generates no samples.
        Since: TRL 1.0.
        Remove when: TRL calls a public method for the passes of a generation.
        """
        return self.next_inputs(generation_batch)

    def _get_per_token_logps_and_entropies(
        self: Any,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Replaces `GRPOTrainer._get_per_token_logps_and_entropies`.

        Why: TRL has no audio inputs and computes the prompt once for each completion.
        Since: TRL 1.9; earlier versions expect two return values.
        Remove when: TRL passes extra fields of a sample to the model and lets completions share a prompt.
        """
        ids, mask = input_ids[:, -logits_to_keep:], attention_mask[:, -logits_to_keep:]
        return (*self.score_completions(model, ids, mask, batch_size), None)

    for method in (_prepare_inputs, _get_per_token_logps_and_entropies):
        setattr(cls, method.__name__, method)
    return cls


def generate_and_score(trainer: Any, samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Call `GRPOTrainer._generate_and_score_completions`.

    Why: the replaced `_prepare_inputs` of TRL calls this method. It calls ``rollout_func`` and ``reward_funcs`` and
    computes advantages, metrics, and log-probabilities under the old policy and the reference.
    Since: TRL 1.0.
    Remove when: `grpo_hooks` is removed.
    """
    return trainer._generate_and_score_completions(samples)


@contextmanager
def model_for_generation(trainer: Any) -> Iterator[Any]:
    """The unwrapped model of a `GRPOTrainer`, without gradient checkpointing in this block.

    Reaches: `trl.models.utils.unwrap_model_for_generation`.
    Why: the function is not public, and before TRL 1.16 it switches checkpointing on again without
    ``gradient_checkpointing_kwargs`` of the training arguments.
    Since: TRL 1.0.
    Remove when: TRL has a public function for this, and versions before 1.16 are not supported.
    """
    from trl.models.utils import unwrap_model_for_generation

    args = trainer.args
    with unwrap_model_for_generation(
        trainer.model_wrapped,
        trainer.accelerator,
        gather_deepspeed3_params=args.ds3_gather_for_generation,
    ) as model:
        yield model
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable(args.gradient_checkpointing_kwargs)


@contextmanager
def without_reference_model(args: Any) -> Iterator[None]:
    """Let `GRPOTrainer.__init__` create no reference model in this block.

    Why: with ``beta`` above 0, the constructor loads a second model or copies the adapter. A judge's reference needs
    neither (see `dramaeval.training.grpo.reference_policy`).
    Since: TRL 1.0. The caller sets ``beta`` and ``ref_model`` of the trainer afterwards.
    Remove when: the constructor takes a reference.
    """
    beta, args.beta = args.beta, 0.0
    try:
        yield
    finally:
        args.beta = beta


@contextmanager
def quiet_rollout() -> Iterator[None]:
    """In this block, ignore the warning that ``rollout_func`` is experimental.

    Why: the contract test covers the function, and users cannot act on the warning.
    Since: TRL 1.0.
    Remove when: ``rollout_func`` is no longer experimental.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*rollout_func", category=UserWarning)
        yield


@contextmanager
def adapters_keep_precision(model: Any) -> Iterator[None]:
    """Restore the values of a quantised model's trained weights after TRL's constructor ran in this block.

    Why: the constructors round these weights to bfloat16, in which small updates are lost.
    Since: TRL 1.0 (SFTTrainer and GRPOTrainer).
    Remove when: the constructors keep the weights' precision.
    """
    quantised = any(getattr(model, f"is_loaded_in_{bits}bit", False) for bits in (4, 8))
    trained = [w for w in model.parameters() if w.requires_grad] if quantised else []
    values = [weight.data.clone() for weight in trained]
    yield
    for weight, value in zip(trained, values, strict=True):
        weight.data = value
