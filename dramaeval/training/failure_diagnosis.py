"""Messages about exhausted memory and losses that are not finite."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from dramaeval.compat.torch import is_out_of_memory
from dramaeval.models.failures import (
    MemoryExhaustedError,
    NonFiniteLossError,
    TrainingFailureError,
    failure_message,
    first_line,
    parameters_of,
    size_of,
)
from dramaeval.models.inputs.collation import Batch
from dramaeval.training.grpo.settings import trains_by_reward
from dramaeval.training.memory_advice import batch_settings, memory_advice

_QUESTIONS_NAMED = 20


@contextmanager
def explain_failures(trainer: Any) -> Iterator[None]:
    """Convert errors that a setting can prevent to `TrainingFailureError` in this block.

    Args:
        trainer: a `JudgeTrainer`, whose attribute ``current`` is the batch of the failed pass.
    """
    try:
        yield
    except TrainingFailureError:
        raise
    except (RuntimeError, MemoryError) as error:
        batch = trainer.current
        if batch is not None and is_out_of_memory(error):
            raise MemoryExhaustedError(_memory_text(trainer, batch, error)) from error
        if batch is not None and "returned nan values" in str(error):  # from anomaly detection
            every = list(range(batch.questions))
            text = _loss_text(trainer, batch, every, f"In the backward pass: {first_line(error)}")
            raise NonFiniteLossError(text) from error
        raise


def require_finite(losses: torch.Tensor, trainer: Any, batch: Batch) -> None:
    """Check that the loss of every question is finite.

    Args:
        losses: the losses, float32 ``[questions]``.
        trainer: see `explain_failures`.
        batch: the batch of the losses.

    Raises:
        NonFiniteLossError: a loss is NaN or infinite; the message names the questions as record id × dimension.
    """
    bad = (~torch.isfinite(losses.detach())).nonzero()[:, 0].tolist()
    if bad:
        raise NonFiniteLossError(_loss_text(trainer, batch, bad))


def _memory_text(trainer: Any, batch: Batch, error: BaseException) -> str:
    facts = [
        f"batch: {size_of(batch)} ({batch_settings(trainer)})",
        f"model: {parameters_of(trainer.model)}",
        f"allocator: {first_line(error)}",
    ]
    head = f"Out of memory at training step {trainer.state.global_step + 1}."
    return failure_message(head, facts, memory_advice(trainer, batch))


def _loss_text(trainer: Any, batch: Batch, bad: Sequence[int], extra: str = "") -> str:
    broken, step = _broken_weight(trainer.model), trainer.state.global_step
    names = [" × ".join(batch.question_keys[number]) for number in bad[:_QUESTIONS_NAMED]]
    more = f" and {len(bad) - len(names)} more" if len(bad) > len(names) else ""
    scheduler = trainer.lr_scheduler
    rate = scheduler.get_last_lr()[0] if scheduler else trainer.args.learning_rate
    facts = [
        f"questions: {len(bad)} of {batch.questions} in the batch: {', '.join(names)}{more}",
        f"batch: {size_of(batch)}",
        f"model: {parameters_of(trainer.model)}",
        f"weights: {f'{broken} holds NaN or infinity' if broken else 'all finite'}",
        f"learning rate {rate:.3g}{_recent_losses(trainer.state.log_history)}",
        *([extra] if extra else []),
    ]
    if broken and step == 0:
        advice = [
            "load other weights: these were broken before the first step (model.path=…, checkpoint=…)"
        ]
    else:
        advice = _loss_advice(trainer, len(bad) < batch.questions and not broken)
    return failure_message(f"The loss is not finite at training step {step + 1}.", facts, advice)


def _loss_advice(trainer: Any, only_some: bool) -> list[str]:
    args = trainer.args
    advice = []
    if only_some:
        advice.append(
            "look at the records of these questions: the others of the batch have finite losses"
        )
    config = trainer.run_config
    if config is not None and not config.debug and not trains_by_reward(config):
        advice.append("debug=true: names the operation that fails")
    if next(trainer.model.parameters()).dtype == torch.float16:
        advice.append("model.dtype=bfloat16 or float32: float16 overflows early")
    if args.max_grad_norm > 0.5:
        advice.append(f"trainer.args.max_grad_norm={args.max_grad_norm / 2:g}: limits large steps")
    advice.append("trainer.args.warmup_steps=0.1: begins with small steps")
    advice.append(f"trainer.args.learning_rate={args.learning_rate / 2:g}: half of the present one")
    return advice


def _recent_losses(history: Sequence[dict[str, Any]]) -> str:
    """The last logged losses and gradient norms, as the end of a sentence."""
    logged = [entry for entry in history if "loss" in entry][-3:]
    if not logged:
        return ", nothing logged yet"
    losses = ", ".join(f"{entry['loss']:.3g}" for entry in logged)
    norms = ", ".join(f"{entry.get('grad_norm', float('nan')):.3g}" for entry in logged)
    return f"; last losses {losses}; last gradient norms {norms}"


def _broken_weight(model: Any) -> str | None:
    """The name of the first weight with a value that is not finite; None if there is none."""
    broken = (
        name
        for name, weight in model.named_parameters()
        if weight.is_floating_point() and not torch.isfinite(weight.detach()).all()
    )
    return next(broken, None)
