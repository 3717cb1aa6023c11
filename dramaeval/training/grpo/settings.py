"""What GRPO needs of the rest of a configuration, before anything starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from dramaeval.config.combinations import is_a
from dramaeval.config.keys import check_arguments, resolve_target
from dramaeval.config.problems import not_among

SAMPLED, ENUMERATED = "sampled", "enumerated"
#: Completions of a question where the configuration does not say.
GENERATIONS = 8

#: Arguments of TRL's that the run decides, beside those that it decides for every trainer.
RESERVED = {
    "reward_weights": "trainer.rewards.NAME.weight=NUMBER",
    "generation_batch_size": "trainer.args.steps_per_generation=NUMBER",
    "num_generations_eval": "nothing: validation reads scores and samples nothing",
    "model_init_kwargs": "model.…",
    "trust_remote_code": "model.trust_remote_code=true",
    "chat_template_kwargs": "nothing: prompts are the task's",
    "shuffle_dataset": "nothing: the order of the clips follows from seed",
    "generation_kwargs": "temperature, top_p, top_k, min_p and repetition_penalty: the judge samples by these",
    "cache_implementation": "nothing: the judge keeps keys and values itself",
    "use_transformers_continuous_batching": "batch.shared_prefix=true",
    "use_transformers_paged": "batch.shared_prefix=true",
    "transformers_continuous_batching_config": "batch.shared_prefix=true",
    "sync_ref_model": "checkpoint=RUN in a run of its own: the reference is the policy that a run begins with",
    "ref_model_mixup_alpha": "checkpoint=RUN in a run of its own",
    "ref_model_sync_steps": "checkpoint=RUN in a run of its own",
    "max_tool_calling_iterations": "nothing: a judge calls no tools",
    "pad_to_multiple_of": "nothing: completions are short",
    "cast_lm_head_to_fp32": "nothing: log-probabilities are always taken in float32",
    "router_aux_loss_coef": "nothing: a judge's pass computes no balance of experts",
    "use_liger_kernel": "nothing: a judge has a pass of its own",
    "log_completions_hub_repo": "nothing: upload the run folder yourself",
}

#: Kinds of loss that count every token by its weight, as enumerated answers need it.
BY_TOKEN = ("dapo", "dr_grpo", "bnpo", "cispo")


def trains_by_reward(config: DictConfig) -> bool:
    """Whether the trainer is one that needs rewards."""
    return is_a(config.trainer.get("args"), ("GRPOConfig",))


def generations(config: DictConfig) -> int:
    """Completions of a question, as TRL counts them."""
    return int(config.trainer.args.get("num_generations") or GENERATIONS)


def check_grpo(config: DictConfig) -> list[str]:
    """What cannot run, each with its reason and its fix."""
    problems: list[str] = []
    estimator = config.trainer.get("estimator")
    if estimator not in (SAMPLED, ENUMERATED):
        problems.append(not_among("trainer.estimator", estimator, (SAMPLED, ENUMERATED)))
    problems += _check_rewards(config.trainer.get("rewards") or {})
    if config.model.get("head", "vocabulary") == "regression":
        problems.append(
            "model.head=regression gives a number and writes no answers that a reward could look at: set "
            "model.head=vocabulary."
        )
    if config.batch.questions_per_clip not in (None, 1):
        problems.append(
            f"batch.questions_per_clip={config.batch.questions_per_clip}: GRPO asks one question a clip, so "
            "that completions are those of one prompt. Leave it out; batch.per_device takes more clips."
        )
    if config.batch.max_tokens is not None:
        problems.append(
            f"batch.max_tokens={config.batch.max_tokens}: GRPO takes the same number of clips in every pass, "
            "so that processes generate as many answers. Leave it out; batch.per_device says how many clips."
        )
    if config.debug:
        problems.append(
            "debug=true shows the batches of supervised training: set debug=false, and look at completions "
            "with trainer.args.log_completions=true."
        )
    problems += _check_sampling(config)
    return problems + (_check_enumerated(config) if estimator == ENUMERATED else [])


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


def _check_sampling(config: DictConfig) -> list[str]:
    args, problems = config.trainer.args, []
    given = args.get("num_generations")
    if given is not None and (not isinstance(given, int) or given < 2):
        problems.append(
            f"trainer.args.num_generations={given} must be 2 or more: answers are compared."
        )
    if args.get("max_completion_length") is None or args.max_completion_length < 1:
        problems.append("trainer.args.max_completion_length must be 1 or more.")
    if not args.get("temperature", 1.0) > 0:
        problems.append(f"trainer.args.temperature={args.temperature} must be above 0.")
    return problems + _check_vllm(config)


def _check_vllm(config: DictConfig) -> list[str]:
    from importlib.util import find_spec

    if not config.trainer.args.get("use_vllm"):
        return []
    problems = []
    if getattr(resolve_target(config.model["_target_"]), "takes_audio", True):
        problems.append(
            "trainer.args.use_vllm=true: TRL hands vLLM images and no clips, so that completions would be "
            "drawn without hearing. Set it to false; it is for model=causal_lm."
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
                f"trainer.args.{key}={args[key]} is about samples, and trainer.estimator=enumerated takes "
                "none: leave it out."
            )
    if args.get("loss_type", "dapo") not in BY_TOKEN:
        problems.append(
            f"trainer.args.loss_type={args.loss_type} counts every answer alike, whatever its probability, "
            f"which trainer.estimator=enumerated needs otherwise: set it to one of {', '.join(BY_TOKEN)}."
        )
    fixed = {
        "importance_sampling_level": "token",
        "multi_objective_aggregation": "sum_then_normalize",
        "off_policy_mask_threshold": None,
        "log_completions": False,
    }
    for key, wanted in fixed.items():
        if args.get(key, wanted) != wanted:
            problems.append(
                f"trainer.args.{key}={args[key]} does not go with trainer.estimator=enumerated: set it to "
                f"{'null' if wanted is None else str(wanted).lower()}."
            )
    if args.get("scale_rewards", "group") not in ("group", "none", True, False):
        problems.append(
            f"trainer.args.scale_rewards={args.scale_rewards} takes the spread of a batch of samples, which "
            "trainer.estimator=enumerated has not: set it to group or none."
        )
    for name, node in (config.trainer.get("rewards") or {}).items():
        needs = getattr(resolve_target(node.get("_target_", "")), "needs_batch", False)
        if needs and node.get("weight", 1.0) != 0:
            problems.append(
                f"trainer.rewards.{name} compares the sampled answers of a batch, and "
                "trainer.estimator=enumerated "
                f"takes no samples: set trainer.rewards.{name}.weight=0 or trainer.estimator=sampled."
            )
    return problems
