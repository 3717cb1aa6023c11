"""Values that are of the right type and can train nothing or mean nothing: said before a run is under way."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dramaeval.config.problems import not_among
from dramaeval.config.schema import Stage
from dramaeval.config.task_parts import parts_of, where_of


@dataclass(frozen=True)
class Bound:
    """What a number may be.

    Attributes:
        least: its lower bound.
        most: its upper bound.
        strict: whether the lower bound itself is out.
        below: whether the upper bound itself is out.
    """

    least: float
    most: float = math.inf
    strict: bool = False
    below: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number is within; NaN never is."""
        above = value > self.least if self.strict else value >= self.least
        return above and (value < self.most if self.below else value <= self.most)

    def __str__(self) -> str:
        low = f"above {self.least:g}" if self.strict else f"{self.least:g} or more"
        if self.most == math.inf:
            return low
        most = f"{self.most:,.0f}" if self.most > 1e6 else f"{self.most:g}"
        return f"{low} and {'below' if self.below else 'at most'} {most}"


POSITIVE, COUNT, SHARE = Bound(0, strict=True), Bound(1), Bound(0, 1, below=True)
NOT_NEGATIVE = Bound(0)

#: Of every run.
ALWAYS: Mapping[str, Bound] = {
    "seed": Bound(0, 2**32 - 1),  # what numpy takes
    "batch.questions_per_clip": COUNT,
    "batch.max_tokens": COUNT,
    "batch.eval_clips": COUNT,
    "batch.cache_clips": COUNT,
    "cache.max_gb": POSITIVE,
    "evaluation.draws": COUNT,
    "evaluation.level": Bound(0, 1, strict=True, below=True),
    "task.data.workers": COUNT,
    # The audio encoder hears no longer.
    "task.data.max_seconds": Bound(0, 30, strict=True),
}
#: Of runs that train.
TRAINING: Mapping[str, Bound] = {
    "trainer.args.learning_rate": POSITIVE,
    "trainer.args.weight_decay": NOT_NEGATIVE,
    "trainer.args.max_grad_norm": NOT_NEGATIVE,
    "trainer.args.warmup_steps": NOT_NEGATIVE,
    "trainer.args.logging_steps": POSITIVE,
    "trainer.args.eval_steps": POSITIVE,
    "trainer.args.save_steps": POSITIVE,
    "trainer.args.save_total_limit": COUNT,
    "trainer.args.dataloader_num_workers": NOT_NEGATIVE,
    "peft.r": COUNT,
    "peft.lora_alpha": POSITIVE,
    "peft.lora_dropout": SHARE,
    "peft.init_r": COUNT,
    "peft.target_r": COUNT,
    "peft.deltaT": COUNT,
    "peft.num_virtual_tokens": COUNT,
    "peft.encoder_hidden_size": COUNT,
}
#: Of runs that train, where the number of epochs counts.
EPOCHS = {"trainer.args.num_train_epochs": POSITIVE}

CHOICES: Mapping[str, Sequence[str]] = {
    "peft.bias": ("none", "all", "lora_only"),
    "peft.prompt_tuning_init": ("RANDOM", "TEXT", "SAMPLE_VOCAB"),
    "quantization.bnb_4bit_quant_type": ("nf4", "fp4"),
}
#: What validation measures and the best checkpoint can be chosen by, over all dimensions and scores.
VALIDATED = ("pearson", "loss", "mse", "accuracy", "choice_accuracy")


def check_values(config: DictConfig) -> list[str]:
    """Numbers out of range, and words that are none of the choices."""
    trains = Stage.train in config.stages
    bounds = {**ALWAYS, **(TRAINING if trains else {})}
    steps = OmegaConf.select(config, "trainer.args.max_steps")
    if trains and not (isinstance(steps, int | float) and steps > 0):
        bounds |= EPOCHS
    problems = []
    for key, bound in bounds.items():
        value = OmegaConf.select(config, key)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and not bound.holds(value):
            problems.append(f"{key}={value} must be {bound}.")
    if trains:
        for key, choices in CHOICES.items():
            value = OmegaConf.select(config, key)
            if value is not None and str(value) not in choices:
                problems.append(not_among(key, value, choices))
        problems += _check_best(config)
    return problems + check_adapt(config) + _check_dimensions(config) + _check_own_metrics(config)


def _check_best(config: DictConfig) -> list[str]:
    args = config.trainer.args
    chosen = args.get("metric_for_best_model")
    if not args.get("load_best_model_at_end") or chosen is None:
        return []
    name = str(chosen).removeprefix("eval_")
    if name in VALIDATED or re.fullmatch(r"pearson/.+|score_[\d.]+/accuracy", name):
        return []
    return [
        not_among("trainer.args.metric_for_best_model", chosen, VALIDATED)
        + " One dimension's correlation is pearson/KEY."
    ]


def _check_dimensions(config: DictConfig) -> list[str]:
    problems = []
    for part, node in parts_of(config.task).items():
        asked, key = node.get("dimensions"), f"{where_of(config.task, part)}.dimensions"
        if asked is None:
            continue
        if not OmegaConf.is_list(asked):
            problems.append(f"{key}={asked} must be a list: {key}=[{asked}].")
        elif not asked:
            problems.append(f"{key}=[] asks for nothing: null asks for all.")
    return problems


def _check_own_metrics(config: DictConfig) -> list[str]:
    return [
        f"evaluation.metrics: {node} is no metric: give each as a mapping with the _target_ of its class, like "
        "[{_target_: dramaeval.evaluation.metrics.pearson.Pearson}]. The standard ones are always there."
        for node in config.evaluation.metrics
        if not (OmegaConf.is_dict(node) and node.get("_target_"))
    ]


def objective_weights(terms: Sequence[tuple[str, float]], expression: Any) -> list[str]:
    """Weights under which an objective would be turned round or left out."""
    return [
        f"trainer.objective={expression}: the weight {weight:g} of {name} must be above 0."
        for name, weight in terms
        if not (weight > 0 and math.isfinite(weight))
    ]


def check_adapt(config: DictConfig) -> list[str]:
    """``adapt`` must be names."""
    adapt: Any = config.adapt
    names = [adapt] if isinstance(adapt, str) else adapt
    if OmegaConf.is_list(names) or isinstance(names, list):
        wrong = [name for name in names if not isinstance(name, str)]
        if not wrong:
            return []
    return [f"adapt={adapt} must be a name or a list of names: llm, audio, projector or all."]
