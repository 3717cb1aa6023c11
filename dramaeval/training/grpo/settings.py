"""The rules for GRPO's settings that need only the configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig

from dramaeval.config.fields import Limits, range_problems
from dramaeval.config.keys import check_arguments, is_a, resolve_target
from dramaeval.config.problems import not_among

SAMPLED, ENUMERATED = "sampled", "enumerated"
#: Default number of completions of a question.
GENERATIONS = 8

SAMPLING_LIMITS = {
    "num_generations": Limits(minimum=2),  # completions are compared with each other
    "max_completion_length": Limits(minimum=1),
    "temperature": Limits(above=0),
}
#: Losses that weight every token, as enumerated answers require.
BY_TOKEN = ("dapo", "dr_grpo", "bnpo", "cispo")


def trains_by_reward(config: DictConfig) -> bool:
    """Whether the trainer trains by rewards."""
    return is_a(config.trainer.get("args"), "GRPOConfig")


def generations(config: DictConfig) -> int:
    """The number of completions of a question."""
    return int(config.trainer.args.get("num_generations") or GENERATIONS)


def problems(config: DictConfig) -> list[str]:
    """Problems of the settings of GRPO."""
    estimator, batch = config.trainer.get("estimator"), config.batch
    messages = _check_rewards(config.trainer.get("rewards") or {})
    if estimator not in (SAMPLED, ENUMERATED):
        messages.append(not_among("trainer.estimator", estimator, (SAMPLED, ENUMERATED)))
    if config.model.head == "regression":
        messages.append(
            "model.head=regression gives a number instead of answers that can be rewarded: set model.head=vocabulary."
        )
    if batch.questions_per_clip not in (None, 1):
        messages.append(
            f"batch.questions_per_clip={batch.questions_per_clip}: GRPO samples one question for each "
            "clip, so that its completions have the same prompt. Leave it out; batch.per_device sets the number of clips."
        )
    if batch.max_tokens is not None:
        messages.append(
            f"batch.max_tokens={batch.max_tokens}: GRPO uses the same number of clips in every "
            "pass, so that all processes generate equally many answers. Leave it out; batch.per_device sets the number."
        )
    if config.debug:
        messages.append(
            "debug=true writes the batches of supervised training: set debug=false, and log completions "
            "with trainer.args.log_completions=true."
        )
    messages += range_problems(config.trainer.args, "trainer.args", SAMPLING_LIMITS)
    if config.trainer.args.get("max_completion_length", 256) is None:
        messages.append(
            "trainer.args.max_completion_length=null has no limit: give a number of tokens."
        )
    messages += _check_vllm(config)
    return messages + (_check_enumerated(config) if estimator == ENUMERATED else [])


def _check_rewards(rewards: Mapping[str, Any]) -> list[str]:
    problems, total = [], 0
    for name, node in rewards.items():
        where = f"trainer.rewards.{name}"
        problems += check_arguments(node, where, also=("weight",))
        weight = node.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            problems.append(f"{where}.weight={weight} must be a number; 0 leaves the reward out.")
        elif not math.isfinite(weight):
            problems.append(f"{where}.weight={weight} must be finite.")
        else:
            total += weight != 0
    if not total and not problems:
        problems.append(
            "trainer.rewards has no reward with a weight other than 0: set one, for example "
            "trainer.rewards.distance.weight=1."
        )
    return problems


def _check_vllm(config: DictConfig) -> list[str]:
    if not config.trainer.args.get("use_vllm"):
        return []
    problems = []
    if getattr(resolve_target(config.model["_target_"]), "takes_audio", True):
        problems.append(
            "trainer.args.use_vllm=true: TRL passes images to vLLM but no clips, so that completions would be "
            "sampled without the audio. Set it to false; it is for model=causal_lm."
        )
    if find_spec("vllm") is None:
        problems.append(
            "trainer.args.use_vllm=true needs a package that is missing: pip install vllm"
        )
    return problems


def _check_enumerated(config: DictConfig) -> list[str]:
    args, problems = config.trainer.args, []
    samples = {
        "num_generations": None, "top_p": 1.0, "top_k": 0, "min_p": None, "repetition_penalty": 1.0,
        "mask_truncated_completions": False, "use_vllm": False,
    }  # fmt: skip
    for key, neutral in samples.items():
        if args.get(key, neutral) not in (neutral, None):
            problems.append(
                f"trainer.args.{key}={args[key]} is a setting of sampling, and trainer.estimator=enumerated does not "
                "sample: leave it out."
            )
    if args.get("loss_type", "dapo") not in BY_TOKEN:
        problems.append(
            f"trainer.args.loss_type={args.loss_type} gives every answer the same weight, but "
            f"trainer.estimator=enumerated weights answers by their probability: set it to one of {', '.join(BY_TOKEN)}."
        )
    fixed = {
        "importance_sampling_level": "token",
        "multi_objective_aggregation": "sum_then_normalize",
        "off_policy_mask_threshold": None,
        "log_completions": False,
        "entropy_coef": 0.0,
        "use_adaptive_entropy": False,
        "top_entropy_quantile": 1.0,
    }
    for key, wanted in fixed.items():
        if args.get(key, wanted) != wanted:
            problems.append(
                f"trainer.args.{key}={args[key]} does not work with trainer.estimator=enumerated: set it to "
                f"{'null' if wanted is None else str(wanted).lower()}."
            )
    if args.get("scale_rewards", "group") not in ("group", "none", True, False):
        problems.append(
            f"trainer.args.scale_rewards={args.scale_rewards} is computed from a batch of samples, which "
            "trainer.estimator=enumerated does not have: set it to group or none."
        )
    for name, node in (config.trainer.get("rewards") or {}).items():
        needs = getattr(resolve_target(node.get("_target_", "")), "needs_batch", False)
        if needs and node.get("weight", 1.0) != 0:
            problems.append(
                f"trainer.rewards.{name} compares the sampled answers of a batch, and trainer.estimator=enumerated "
                f"does not sample: set trainer.rewards.{name}.weight=0 or trainer.estimator=sampled."
            )
    return problems
