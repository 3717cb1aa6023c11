"""The arguments of trl.SFTConfig and trl.GRPOConfig that take effect, and replacements for the others.

TRL's trainers provide the training loop, the optimizer, the schedule, checkpoints and GRPO's loss. Data loader,
collator, validation and forward pass are dramaeval's, so that arguments about these have no effect. Every argument is
in one table:

* ``WORKS…``: it has the effect that TRL documents;
* ``SET_BY_RUN``: a setting of dramaeval determines it; from Python it works;
* ``WITHOUT_EFFECT…``: it is refused, on the command line and from Python.

A test compares the tables with the fields of both classes. `sorting_problems` refuses an argument that is in no table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dramaeval.config.keys import instead

#: Arguments of transformers.TrainingArguments that work.
WORKS = frozenset(
    {
        # optimizer and schedule
        "learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "optim", "optim_args",
        "optim_target_modules", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "max_grad_norm",
        "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps",
        "neftune_noise_alpha",
        # memory and speed
        "gradient_checkpointing", "gradient_checkpointing_kwargs", "torch_empty_cache_steps", "tf32",
        "bf16", "skip_memory_metrics", "full_determinism", "debug", "dataloader_num_workers",
        "dataloader_persistent_workers", "dataloader_pin_memory", "dataloader_prefetch_factor",
        "ddp_broadcast_buffers", "ddp_bucket_cap_mb", "ddp_find_unused_parameters", "ddp_static_graph",
        # validation, checkpoints and logs
        "eval_strategy", "eval_steps", "eval_delay", "eval_on_start", "save_strategy", "save_steps",
        "save_total_limit", "save_only_model", "load_best_model_at_end", "metric_for_best_model",
        "greater_is_better", "logging_strategy", "logging_steps",
        "logging_first_step", "log_level", "log_level_replica", "log_on_each_node",
    }
)  # fmt: skip
#: Arguments of trl.GRPOConfig that work, in addition to `WORKS`.
WORKS_GRPO = frozenset(
    {
        "beta", "delta", "disable_dropout", "ds3_gather_for_generation", "epsilon", "epsilon_high",
        "importance_sampling_level", "log_completions", "log_unique_prompts", "loss_type",
        "mask_truncated_completions", "max_completion_length", "min_p", "multi_objective_aggregation",
        "num_completions_to_print", "num_generations", "num_iterations", "off_policy_mask_threshold",
        "repetition_penalty", "sapo_temperature_neg", "sapo_temperature_pos", "scale_rewards",
        "steps_per_generation", "temperature", "top_entropy_quantile", "top_k", "top_p",
        "use_bias_correction_kl", "vespo_k_neg", "vespo_k_pos", "vespo_lambda_neg", "vespo_lambda_pos",
        "entropy_coef", "entropy_coef_delta", "entropy_coef_max", "entropy_coef_min", "entropy_target",
        "use_adaptive_entropy", "use_vllm", "vllm_enable_sleep_mode", "vllm_gpu_memory_utilization",
        "vllm_group_port", "vllm_importance_sampling_cap", "vllm_importance_sampling_clip_max",
        "vllm_importance_sampling_clip_min", "vllm_importance_sampling_correction",
        "vllm_importance_sampling_mode", "vllm_max_model_length", "vllm_mode", "vllm_model_impl",
        "vllm_server_base_url", "vllm_server_host", "vllm_server_port", "vllm_server_timeout",
        "vllm_structured_outputs_regex", "vllm_tensor_parallel_size",
    }
)  # fmt: skip

#: Arguments that the run sets, with the setting to use instead.
SET_BY_RUN = {
    "output_dir": "hydra.run.dir=FOLDER",
    "seed": "seed=NUMBER",
    "report_to": "logger=tensorboard|wandb|mlflow|trackio|swanlab|comet|none",
    "run_name": "logger.wandb.name=NAME",
    "use_cpu": "device=cpu",
    "fp16": "model.dtype=float16",
    "resume_from_checkpoint": "hydra.run.dir=FOLDER of the interrupted run",
    "deepspeed": "zero=…",
    "per_device_eval_batch_size": "batch.eval_clips=NUMBER",
    "remove_unused_columns": "nothing: the project creates its own batches",
    "disable_tqdm": "nothing: progress is logged as lines",
    "activation_checkpointing": "trainer.args.gradient_checkpointing=true",
    "activation_checkpointing_kwargs": "trainer.args.gradient_checkpointing_kwargs={…}",
    "do_train": "stages=[train,…]",
    "do_eval": "trainer.args.eval_strategy=…",
    "do_predict": "stages=[evaluate]",
}
#: Further arguments that the run sets in supervised training.
SET_BY_RUN_SFT = {
    "dataset_kwargs": "nothing: the project prepares its data itself",
    "max_length": "nothing: prompts are never cut",
}
#: Further arguments that the run sets in GRPO.
SET_BY_RUN_GRPO = {
    "reward_weights": "trainer.rewards.NAME.weight=NUMBER",
    "generation_batch_size": "trainer.args.steps_per_generation=NUMBER",
    "num_generations_eval": "nothing: validation computes scores without sampling",
}

_OWN_VALIDATION = "nothing: validation scores the val records with the project's own loop"
_OWN_LOADER = "nothing: the project's loader divides the clips over batches and processes"
_NO_HUB = "stages=[train,evaluate,export] export.push_to_hub=owner/name"
_NO_TRACKIO = "nothing: with logger=trackio the curves stay on this machine"
_FULL_PRECISION = "model.dtype=… for all passes"
_NO_COMPILATION = "nothing: every batch has other lengths and would be compiled anew"
_NO_LIGER = "nothing: a judge has its own forward pass, which computes logits at answers only"
_OWN_ORDER = "nothing: the order of the clips follows from seed"
#: Arguments of transformers.TrainingArguments without effect on a judge, with the setting to use instead.
WITHOUT_EFFECT = {
    "accelerator_config": _OWN_LOADER,
    "auto_find_batch_size": "batch.per_device=NUMBER; plan=true prints the memory that it needs",
    "average_tokens_across_devices": "nothing: the loss is always the mean over the questions of all processes",
    "batch_eval_metrics": _OWN_VALIDATION,
    "bf16_full_eval": _FULL_PRECISION,
    "data_seed": "seed=NUMBER",
    "dataloader_drop_last": "nothing: supervised training uses every clip in each epoch and GRPO leaves out "
    "incomplete generations; a batch.global that divides the number of training clips makes all steps equal",
    "dataloader_in_order": _OWN_ORDER,
    "dataloader_multiprocessing_context": "trainer.args.dataloader_num_workers=0 if loader processes fail",
    "ddp_backend": "nothing: NCCL connects processes on GPUs, and Gloo those on CPUs",
    "ddp_timeout": "nothing: the run starts its processes with a fixed limit",
    "enable_jit_checkpoint": "nothing: a run that gets SIGTERM saves a checkpoint and ends",
    "eval_accumulation_steps": _OWN_VALIDATION,
    "eval_do_concat_batches": _OWN_VALIDATION,
    "eval_use_gather_object": _OWN_VALIDATION,
    "fp16_full_eval": _FULL_PRECISION,
    "fsdp": "zero=zero3",
    "fsdp_config": "zero=zero3",
    "hub_always_push": _NO_HUB,
    "hub_model_id": _NO_HUB,
    "hub_private_repo": _NO_HUB,
    "hub_revision": _NO_HUB,
    "hub_strategy": _NO_HUB,
    "hub_token": "HF_TOKEN in the environment",
    "ignore_data_skip": "checkpoint=RUN in a new run; a resumed run continues with the clips that are left",
    "include_for_metrics": "evaluation.metrics=[…]",
    "include_num_input_tokens_seen": "nothing: tokens_per_second is logged",
    "label_names": "nothing: targets follow from the ratings by task.labels",
    "label_smoothing_factor": "trainer.objective=… or task.labels=…",
    "length_column_name": "batch.max_tokens=NUMBER, which batches clips of similar length",
    "liger_kernel_config": _NO_LIGER,
    "local_rank": "processes=NUMBER or torchrun",
    "logging_nan_inf_filter": "nothing: a loss that is not finite ends the training",
    "parallelism_config": "processes=NUMBER and zero=…",
    "prediction_loss_only": _OWN_VALIDATION,
    "project": _NO_TRACKIO,
    "push_to_hub": _NO_HUB,
    "restore_callback_states_from_checkpoint": "nothing: a resumed run restores the states of its callbacks",
    "save_on_each_node": "nothing: all machines share the run folder",
    "torch_compile": _NO_COMPILATION,
    "torch_compile_backend": _NO_COMPILATION,
    "torch_compile_mode": _NO_COMPILATION,
    "trackio_bucket_id": _NO_TRACKIO,
    "trackio_space_id": _NO_TRACKIO,
    "trackio_static_space_id": _NO_TRACKIO,
    "train_sampling_strategy": _OWN_ORDER,
    "use_cache": "nothing: a training pass needs no cache",
    "use_liger_kernel": _NO_LIGER,
}
_OWN_DATA = "nothing: the task creates the questions and the model's tokens"
#: Arguments of trl.SFTConfig without effect on a judge.
WITHOUT_EFFECT_SFT = {
    "activation_offloading": "trainer.args.gradient_checkpointing=true, which also saves memory",
    "assistant_only_loss": "nothing: only answers are trained",
    "chat_template_path": "model.path=FOLDER with the template in its chat_template.jinja",
    "completion_only_loss": "nothing: only answers are trained",
    "dataset_num_proc": _OWN_DATA,
    "dataset_text_field": _OWN_DATA,
    "eos_token": "nothing: an answer ends with the end of a turn in the model's chat template",
    "eval_packing": "batch.shared_prefix=true",
    "loss_type": "trainer.objective=…",
    "model_init_kwargs": "model.…",
    "packing": "batch.shared_prefix=true",
    "packing_strategy": "batch.shared_prefix=true",
    "pad_to_multiple_of": "batch.max_tokens=NUMBER, which batches clips of similar length",
    "pad_token": "nothing: padding is masked",
    "padding_free": "batch.max_tokens=NUMBER, which batches clips of similar length",
    "router_aux_loss_coef": "nothing: the forward pass has no load balancing of experts",
    "shuffle_dataset": _OWN_ORDER,
    "truncation_mode": "nothing: prompts are never cut",
    "trust_remote_code": "model.trust_remote_code=true",
}
#: Arguments of trl.GRPOConfig without effect on a judge.
WITHOUT_EFFECT_GRPO = {
    "cache_implementation": "nothing: the judge keeps keys and values itself",
    "cast_lm_head_to_fp32": "nothing: log-probabilities are always computed in float32",
    "chat_template_kwargs": "nothing: prompts are the task's",
    "generation_kwargs": "trainer.args.temperature, top_p, top_k, min_p and repetition_penalty",
    "log_completions_hub_repo": _NO_HUB,
    "log_multimodal": "nothing: completions are logged as text",
    "max_tool_calling_iterations": "nothing: a judge does not call tools",
    "model_init_kwargs": "model.…",
    "pad_to_multiple_of": "nothing: completions are short",
    "ref_model_mixup_alpha": "checkpoint=RUN in a new run",
    "ref_model_sync_steps": "checkpoint=RUN in a new run",
    "router_aux_loss_coef": "nothing: the forward pass has no load balancing of experts",
    "shuffle_dataset": _OWN_ORDER,
    "sync_ref_model": "checkpoint=RUN in a new run: the reference is the initial policy of a run",
    "transformers_continuous_batching_config": "batch.shared_prefix=true",
    "trust_remote_code": "model.trust_remote_code=true",
    "use_transformers_continuous_batching": "batch.shared_prefix=true",
    "use_transformers_paged": "batch.shared_prefix=true",
}
#: Arguments that the trainers of the Python API replace.
FROM_PYTHON = {
    **SET_BY_RUN_SFT,
    "report_to": "enable_tensorboard=True, or add_callback(…) for another logger",
    "reward_weights": "rewards={NAME: {'_target_': …, 'weight': NUMBER}}",
    "num_generations_eval": SET_BY_RUN_GRPO["num_generations_eval"],
}
#: Values, besides the defaults, that are equivalent to leaving an argument out.
NEUTRAL: dict[str, Any] = {"dataset_kwargs": {"skip_prepare_dataset": True}, "report_to": []}
#: Names that are no arguments of TRL, with the setting to use.
ELSEWHERE = {
    "logging_dir": "hydra.run.dir=FOLDER",
    "early_stopping_patience": "callbacks=early_stopping callbacks.early_stopping.early_stopping_patience=NUMBER",
    "early_stopping_threshold": "callbacks=early_stopping callbacks.early_stopping.early_stopping_threshold=NUMBER",
    "callbacks": "callbacks.NAME._target_=package.module.Class",
}
#: Prefixes of arguments that take effect only with a value of another argument.
NEEDS = {
    "vllm_": ("use_vllm", "true"),
    "entropy_coef_": ("use_adaptive_entropy", "true"),
    "entropy_target": ("use_adaptive_entropy", "true"),
    "num_completions_to_print": ("log_completions", "true"),
}


def works(*, by_reward: bool) -> frozenset[str]:
    """The arguments that take effect in GRPO or in supervised training."""
    return WORKS | (WORKS_GRPO if by_reward else frozenset())


def set_by_run(*, by_reward: bool) -> dict[str, str]:
    """The arguments that a run sets, with the setting to use instead."""
    return SET_BY_RUN | (SET_BY_RUN_GRPO if by_reward else SET_BY_RUN_SFT)


def without_effect(*, by_reward: bool) -> dict[str, str]:
    """The arguments without effect, with the setting to use instead."""
    return WITHOUT_EFFECT | (WITHOUT_EFFECT_GRPO if by_reward else WITHOUT_EFFECT_SFT)


def reserved(*, by_reward: bool) -> dict[str, str]:
    """The names that ``trainer.args`` must not have, with the setting to use instead, for `check_arguments`."""
    return set_by_run(by_reward=by_reward) | ELSEWHERE


def set_by_run_problem(key: str, replacement: str) -> str:
    """The message about an argument that the run sets."""
    return f"{key} is set by the run: {instead(replacement)}."


def no_effect_problem(key: str, replacement: str) -> str:
    """The message about an argument without effect."""
    return f"{key} has no effect on a judge: {instead(replacement)}."


def sorting_problems(
    args: Mapping[str, Any], known: Mapping[str, Any], *, by_reward: bool
) -> Iterator[str]:
    """Problems of arguments that are refused, in no table, or without effect because of another argument.

    Args:
        args: the arguments of the configuration.
        known: the fields of TRL's class by name.
        by_reward: whether the method is GRPO.
    """
    refused, working = without_effect(by_reward=by_reward), works(by_reward=by_reward)
    elsewhere = reserved(by_reward=by_reward)
    for key in args:
        where = f"trainer.args.{key}"
        if key in elsewhere or key not in known:
            continue  # reported by `check_arguments`
        if key in refused:
            yield no_effect_problem(where, refused[key])
        elif key not in working:
            yield (
                f"{where} is an argument of a newer TRL or transformers, and this project does not know whether "
                "it takes effect on a judge: leave it out, or install the versions of pyproject.toml."
            )
        for prefix, (needed, value) in NEEDS.items():
            if key.startswith(prefix) and args[key] is not None and not args.get(needed):
                yield f"{where} is only used with trainer.args.{needed}={value}: set that too, or leave it out."


def refuse_without_effect(args: Any) -> None:
    """Refuse arguments from Python that have no effect.

    Args:
        args: ``trl.SFTConfig`` or ``trl.GRPOConfig``.

    Raises:
        ValueError: arguments without effect differ from their defaults; the message lists all of them.
    """
    default = type(args)(output_dir=args.output_dir, use_cpu=True, bf16=False)
    refused = without_effect(by_reward=hasattr(args, "num_generations")) | FROM_PYTHON
    problems = [
        f"{name}={getattr(args, name)!r}: {instead(replacement)}."
        for name, replacement in refused.items()
        if hasattr(args, name)
        and getattr(args, name) not in (getattr(default, name), NEUTRAL.get(name))
    ]
    if problems:
        raise ValueError(
            f"Arguments of {type(args).__name__} without effect on a judge: {' '.join(problems)}"
        )
