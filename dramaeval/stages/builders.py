"""From configuration to objects: the cheap ones, whose constructors check their own arguments."""

from __future__ import annotations

from typing import Any, cast

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from dramaeval.config.batch_size import ACCUMULATION, PER_DEVICE, step_size
from dramaeval.config.combinations import is_a
from dramaeval.config.composition import chosen_files
from dramaeval.config.literal import instantiate, plain
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.config.task_parts import TASK_KEYS
from dramaeval.distributed.spawn import available_cores
from dramaeval.evaluation.metrics.metric import Metric, metric_name
from dramaeval.models.adapters import adapted_parts, restrict
from dramaeval.models.families.base import Family
from dramaeval.models.forward.judge_model import REGRESSION, SCORE_HEAD
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.splits import Splits
from dramaeval.tasks.all_dimensions import AllDimensionsTask
from dramaeval.tasks.choice import ChoiceTask
from dramaeval.tasks.rubric import RubricError
from dramaeval.tasks.task import Task
from dramaeval.tasks.thought import ThoughtTask
from dramaeval.training.callbacks.adalora import schedule
from dramaeval.training.grpo.arguments import completion_arguments, in_completions, reward_problems
from dramaeval.training.grpo.settings import trains_by_reward
from dramaeval.training.objectives import parse

#: Most loading processes beside a training on a GPU; one prepares eight clips in 54 ms (docs/benchmarks.md).
LOADERS = 4


def build_task(config: DictConfig) -> Task:
    """The task, its rubric read and its label policy chosen.

    Raises:
        ConfigError: the rubric or a dimension's name is wrong.
    """
    node = cast(dict[str, Any], OmegaConf.to_container(config.task, resolve=True, enum_to_str=True))
    try:
        return _task_of(node)
    except (InstantiationException, ValueError) as error:
        cause = error.__cause__ or error
        where = _rubric_file(cause.rubric) if isinstance(cause, RubricError) else ""
        raise ConfigError([f"task: {cause.args[0] if cause.args else cause}{where}"]) from None


def _rubric_file(name: str) -> str:
    """Where a rubric of this name was read from, as the last line of a problem."""
    files = [
        file
        for file in chosen_files("task/rubric")
        if OmegaConf.select(OmegaConf.load(file), "name") == name
    ]
    return f"\n  The file is {', '.join(map(str, files))}." if files else ""


def attach_examples(task: Task, splits: Splits, seed: int) -> None:
    """Give a few-shot task its examples, and choose those of every record.

    Raises:
        ConfigError: there are too few of them.
    """
    if not task.shots:
        return
    try:
        task.show_examples(splits["train"], seed)
        for records in splits.records.values():
            for record in records:
                task.examples(record)
    except ValueError as error:
        raise ConfigError([str(error)]) from None


def _task_of(node: dict[str, Any]) -> Task:
    """A task from its settings; a mixture's own tasks first."""
    kept = {key: value for key, value in node.items() if key not in TASK_KEYS}
    given: dict[str, Any] = {}
    if node.get("tasks"):
        return instantiate(
            kept, tasks={name: _task_of(one) for name, one in kept.pop("tasks").items()}
        )
    if node.get("labels"):
        given["labels"] = instantiate(node["label_policies"][node["labels"]])
    return instantiate(kept, **given)


def build_family(config: DictConfig) -> Family:
    """The model family; reads nothing yet.

    Raises:
        ConfigError: its class refuses a value.
    """
    try:
        return instantiate(config.model)
    except InstantiationException as error:
        raise ConfigError([f"model: {error.__cause__ or error}"]) from None


def build_metrics(config: DictConfig) -> list[Metric]:
    """The user's own metrics, beside the standard ones.

    Raises:
        ConfigError: one cannot be made, or cannot be called.
    """
    made, problems = [], []
    for node in config.evaluation.metrics:
        try:
            metric = instantiate(node)
        except InstantiationException as error:
            problems.append(f"evaluation.metrics: {node._target_}: {error.__cause__ or error}")
            continue
        try:
            metric_name(metric)
        except ValueError as error:
            problems.append(
                f"evaluation.metrics: {error} (see dramaeval.evaluation.metrics.metric)."
            )
            continue
        if not callable(metric):
            problems.append(f"evaluation.metrics: {node._target_} cannot be called with answers.")
        made.append(metric)
    if problems:
        raise ConfigError(problems)
    return made


def check_adapted(config: DictConfig, family: Family) -> None:
    """The parts that ``adapt`` names are the model's.

    Raises:
        ConfigError: with those that there are.
    """
    if config.peft is None or Stage.train not in config.stages:
        return
    try:
        adapted_parts(_adapt(config), family)
    except ValueError as error:
        raise ConfigError([str(error)]) from None


def _adapt(config: DictConfig) -> str | list[str]:
    return config.adapt if isinstance(config.adapt, str) else list(config.adapt)


def check_layout(config: DictConfig, family: Family) -> None:
    """Questions share a prefix only in architectures where that changes no answer.

    Raises:
        ConfigError: this is none of them.
    """
    if config.batch.shared_prefix and (reason := family.layout_problem()):
        raise ConfigError([f"{reason} Set batch.shared_prefix=false: one row a question."])


def check_answers(config: DictConfig, family: Family, task: Task) -> None:
    """Judges that give numbers, and questions that have options: what neither can be asked or taught.

    Raises:
        ConfigError: the head or the objective does not fit the task.
    """
    problems = []
    tasks = list(task.parts.values()) or [task]
    if Stage.train in config.stages and trains_by_reward(config):
        problems += reward_problems(config, tasks)
    names = set()
    if "objective" in config.trainer:
        names = {name for name, _ in parse(config.trainer.objective, config.trainer.objectives)}
    written = sorted(names & {"answer_ce", "soft_ce", "choice_ce", "ordinal"})
    if family.head == REGRESSION:
        if Stage.train in config.stages and written:
            problems.append(
                f"trainer.objective={config.trainer.objective}: a regression head gives a number and no "
                f"distribution, which {', '.join(written)} would need: set it to expected_mse or ranking."
            )
        for one in tasks:
            if not one.rated and one.name != "processed":
                problems.append(
                    f"model.head=regression has no options to choose from: leave out {one.name}."
                )
            if isinstance(one, ThoughtTask) and one.thought_in_scoring == "generate":
                problems.append(
                    "model.head=regression writes no thoughts: set task.thought_in_scoring=given or skip."
                )
            if isinstance(one, AllDimensionsTask) and one.earlier == "own":
                problems.append(
                    "model.head=regression writes no scores that later ones could follow: set "
                    "task.earlier=left_out and task.order=shuffled."
                )
    if Stage.train in config.stages and "ranking" in names and pairs_of(config) < 2:
        problems.append(
            f"trainer.objective={config.trainer.objective}: ranking orders the clips of a pass, and a pass has "
            "one: set batch.per_device=2 or more, or leave ranking out."
        )
    ordered = sorted(names & {"expected_mse", "ordinal", "ranking"})
    if (
        Stage.train in config.stages
        and ordered
        and any(isinstance(one, ChoiceTask) for one in tasks)
    ):
        problems.append(
            f"trainer.objective={config.trainer.objective}: options have no order, which {', '.join(ordered)} "
            "would need: set it to answer_ce, soft_ce, choice_ce or a sum."
        )
    if problems:
        raise ConfigError(problems)


def pairs_of(config: DictConfig) -> float:
    """Clips of a training pass, as far as it is known before the records are."""
    if config.batch.get("max_tokens"):
        return float("inf")
    return step_size(config, config.processes).per_device


def build_adapter(config: DictConfig, family: Family, steps: int | None = None) -> Any | None:
    """PEFT's configuration, kept to the parts that ``adapt`` names; None for full fine-tuning.

    Args:
        config: the run's.
        family: says where the parts are.
        steps: that the run will take, for schedules that it does not give.

    Raises:
        ConfigError: PEFT refuses a value, or ``adapt`` names no part of the model.
    """
    if config.peft is None or Stage.train not in config.stages:
        return None
    node: dict[str, Any] = plain(config.peft)
    if is_a(node, ("AdaLoraConfig",)):
        node = _with_schedule(node, steps)
    if family.head == REGRESSION:
        node["modules_to_save"] = [*(node.get("modules_to_save") or []), SCORE_HEAD]
    try:
        return restrict(instantiate(node), family, _adapt(config))
    except (InstantiationException, ValueError) as error:
        raise ConfigError([f"peft: {error.__cause__ or error}"]) from None


def _with_schedule(node: dict[str, Any], steps: int | None) -> dict[str, Any]:
    """AdaLoRA's phases, from the run's own steps where they are not given."""
    given = {key: value for key, value in node.items() if value is not None}
    total = given.get("total_step", steps)
    if total is None:
        return node
    if steps is not None and total != steps:
        raise ConfigError(
            [
                f"peft.total_step={total}, but this run takes {steps} steps: ranks would not be final when it "
                "ends, or be so too early. Leave it out, or set trainer.args.max_steps to the same."
            ]
        )
    fill_zero_config = {**schedule(total), **given}
    if total - fill_zero_config["tfinal"] < 2:
        raise ConfigError(
            [
                f"peft=adalora needs two steps before its ranks are final, but total_step={total} and tfinal="
                f"{fill_zero_config['tfinal']}: train longer (trainer.args.max_steps), or lower peft.tfinal."
            ]
        )
    return fill_zero_config


def build_quantization(config: DictConfig) -> Any | None:
    """How the language model is quantised; None where it is not.

    Raises:
        ConfigError: transformers refuses a value.
    """
    if not config.quantization:
        return None
    try:
        return instantiate(config.quantization)
    except (InstantiationException, ValueError, TypeError) as error:
        raise ConfigError([f"quantization: {error.__cause__ or error}"]) from None


def _loaders(config: DictConfig, device: torch.device) -> dict[str, Any]:
    """Processes that prepare clips while the judge is trained, where the settings leave their number open.

    On a CPU the training has all cores: others would only take them away. They stay from epoch to epoch, and
    with them the clips that they keep in memory.
    """
    if config.trainer.args.dataloader_num_workers is not None:
        return {}
    workers = 0
    if device.type == "cuda":
        # One core for the training itself.
        workers = max(0, min(LOADERS, available_cores() // config.processes - 1))
    return {"dataloader_num_workers": workers, "dataloader_persistent_workers": workers > 0}


def build_arguments(
    config: DictConfig, folder: RunFolder, device: torch.device, *, validates: bool
) -> Any | None:
    """The trainer's arguments; None where nothing is trained.

    Without a validation split there is nothing to validate on and no best checkpoint to go back to, so the
    arguments that ask for it are switched off; the run says so.

    Raises:
        ConfigError: the trainer refuses a value.
    """
    if Stage.train not in config.stages:
        return None
    step = step_size(config, config.processes)
    own: dict[str, Any] = {
        "output_dir": str(folder.checkpoints),
        "seed": config.seed,
        PER_DEVICE: step.per_device,
        ACCUMULATION: step.accumulation,
        "deepspeed": None,
        "report_to": "none",  # the run attaches its loggers itself, with their folders
        "use_cpu": device.type == "cpu",
        "bf16": device.type == "cuda" and torch.cuda.is_bf16_supported(),
        "remove_unused_columns": False,
        "disable_tqdm": True,
    }
    if trains_by_reward(config):
        own |= completion_arguments(config, step)
        step = in_completions(config, step)
    else:
        own |= {"dataset_kwargs": {"skip_prepare_dataset": True}, "max_length": None}
        own |= _loaders(config, device)
    if config.debug:
        # An error while loading then has a traceback of its own instead of a worker's.
        own |= {"dataloader_num_workers": 0, "dataloader_prefetch_factor": None}
        own |= {"dataloader_persistent_workers": False}
    from dramaeval.distributed.zero import (
        disable_zero_compilation,
        fill_zero_config,
        set_zero_process_group,
    )

    if config.zero is not None and not config.plan:
        zero: dict[str, Any] = plain(config.zero)
        own["deepspeed"] = fill_zero_config(zero, {**config.trainer.args, **own}, step)
        # With use_cpu transformers would run plain data parallelism and say nothing.
        own["use_cpu"] = False
        if device.type == "cpu":
            disable_zero_compilation()
    if not validates:
        own |= {"eval_strategy": "no", "load_best_model_at_end": False}
    try:
        arguments = instantiate(config.trainer.args, **own)
    except InstantiationException as error:
        raise ConfigError([f"trainer.args: {error.__cause__ or error}"]) from None
    if own["deepspeed"] and device.type == "cpu":
        set_zero_process_group(arguments)
    # A process has one GPU; transformers would take all that it sees into one batch.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
