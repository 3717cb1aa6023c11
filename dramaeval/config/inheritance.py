"""Settings that a run takes from another run: all from ``from=RUN``, and those of the judge in ``checkpoint``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from dramaeval.config import fields, registration
from dramaeval.config.earlier_run import with_settings_of_run
from dramaeval.config.judge_file import DATA, SavedJudge, names_records, read_judge, sample_folder
from dramaeval.config.keys import check_arguments, targets_in
from dramaeval.config.literal import literal
from dramaeval.config.model_schema import ModelConfig
from dramaeval.config.problems import ConfigError
from dramaeval.config.run_id import run_id
from dramaeval.config.schema import Stage
from dramaeval.config.task_schema import SPLITS, TASK_KEYS, TaskConfig
from dramaeval.config.trust import untrusted_targets
from dramaeval.config.user_keys import default, is_given, override_keys, plain_part
from dramaeval.config.weights import checkpoint_folder, model_identity

#: Settings of a task that may differ between a run and its judge: how it is trained or scored, and the keys of records.
FREE = frozenset(
    {"labels", "objective", "best_by", "augment", "confidence", "weights", "order", "rater", "earlier", "gate_share",
     "thought", "thought_in_scoring", "thought_tokens", "thought_samples", "thought_temperature", "thought_seed",
     "wordings_in_scoring", "scoring", "answer_tokens", "question_field", "options_field", "answer_field", "audio_field",
     "category_field"}
)  # fmt: skip
#: Stages that read the records of ``task.data``.
_READ_DATA = frozenset({Stage.prepare, Stage.train, Stage.evaluate, Stage.controls})
_ABSENT = object()
_SHOWN = 120


def inherit(config: DictConfig) -> DictConfig:
    """A copy of a composed configuration with the settings of ``from=RUN`` and of the judge in ``checkpoint``.

    The user's settings are kept. The result has no ``from``, and inheriting again does not change it.

    Raises:
        ConfigError: the user's settings contradict the judge, or a file cannot be used.
    """
    keys = override_keys(config)
    if config.get("from"):
        config = with_settings_of_run(config, keys)
    if not config.get("checkpoint"):
        return config
    folder = checkpoint_folder(config.checkpoint)
    if folder != config.checkpoint:
        config = config.copy()
        config.checkpoint = literal(folder)
    judge = read_judge(folder)
    return _with_judge(config, judge, keys) if judge is not None else config


def inherited_run_id(config: DictConfig) -> str:
    """The id of a configuration with its inherited settings; without them if they are invalid, which the run reports."""
    try:
        return run_id(inherit(config))
    except ConfigError:
        return run_id(config)


def _with_judge(config: DictConfig, judge: SavedJudge, keys: tuple[str, ...]) -> DictConfig:
    task, model = plain_part(config, "task"), plain_part(config, "model")
    named = [str(name) for _, name in targets_in({"task": task, "model": model})]
    problems = untrusted_targets({"task": judge.task, "model": judge.model}, named)
    if not problems:  # the check of arguments imports the classes
        problems = check_arguments(judge.model, "model")
        problems += fields.problems(ModelConfig, judge.model, "model")
    if problems:
        raise ConfigError([f"{judge.file}: {problem}" for problem in problems])
    comparison = _Comparison(config, judge, keys)
    new_task, new_model = comparison.task(task), comparison.model(model)
    comparison.check_data(new_task)
    if comparison.problems:
        raise ConfigError(comparison.problems)
    config = config.copy()
    with open_dict(config), read_write(config):
        config.task = registration.node_of(TaskConfig, new_task)
        config.model = registration.node_of(ModelConfig, new_model)
        if (objective := comparison.objective(task)) is not None:
            config.trainer.objective = literal(objective)
    return config


class _Comparison:
    """Compares the settings of a run with those of the judge in ``checkpoint``."""

    def __init__(self, config: DictConfig, judge: SavedJudge, keys: tuple[str, ...]) -> None:
        self.config, self.judge, self.keys = config, judge, keys
        self.setting_keys = tuple(key for key in keys if key != "task")
        self.replaces = bool(config.checkpoint_override)
        self.problems: list[str] = []

    def task(self, user: dict[str, Any]) -> dict[str, Any]:
        """The settings of the task: the user's if given, else the judge's."""
        judge, name = self.judge.task, user.get("name")
        chosen = "task" in self.keys or name != default("task").get("name")
        parts = judge.get("tasks") or {}
        if chosen and name in parts:
            judge = _with_limits(parts[name], judge.get("data") or {})
        elif chosen and self.replaces and "task" in self.keys:
            return user
        elif chosen and (name, user.get("_target_")) != (judge.get("name"), judge.get("_target_")):
            if not self.replaces:
                self._contradiction("task", name, judge.get("name"))
            return user
        base = default("task", name) if chosen else default("task")
        return self._task("task", user, judge, base or {})

    def _task(
        self, where: str, user: dict[str, Any], judge: dict[str, Any], base: dict[str, Any]
    ) -> dict[str, Any]:
        task = {key: value for key, value in user.items() if key in TASK_KEYS}
        same_class = user.get("_target_") == judge.get("_target_")
        for key in {**judge, **user}:
            if key in ("data", "label_policies", "tasks"):
                continue
            path, given, initial = f"{where}.{key}", user.get(key, _ABSENT), base.get(key, _ABSENT)
            if key in judge:
                task[key] = self._value(path, given, judge[key], initial)
            elif same_class:
                task[key] = given  # a setting that is newer than the judge
            elif self._is_given(path, given, initial):
                self._contradiction(path, given, None)
        if not judge.get("labels"):
            task |= {"labels": None, "label_policies": {}}
        elif task["labels"] not in (task.get("label_policies") or {}):
            # The file of a judge does not hold label policies, and this one is not bundled.
            task["labels"] = user.get("labels")
        if judge.get("tasks"):
            task["tasks"] = {
                name: self._task(
                    f"{where}.tasks.{name}",
                    {"label_policies": user.get("label_policies"), **_part(user, name)},
                    _with_limits(part, {}),
                    _part(base, name),
                )
                for name, part in judge["tasks"].items()
            }
            task.pop("label_policies", None)
        task["data"] = self._data(f"{where}.data", user, judge, base)
        return task

    def _value(self, path: str, user: Any, judge: Any, base: Any) -> Any:
        """One setting, as `_whole_value`; mappings are merged."""
        if all(isinstance(value, dict) for value in (user, judge)):
            merged = {}
            for key in {**judge, **user}:
                given, saved = user.get(key, _ABSENT), judge.get(key, _ABSENT)
                initial = base.get(key, _ABSENT) if isinstance(base, dict) else _ABSENT
                if key in judge or self._is_given(f"{path}.{key}", given, initial):
                    merged[key] = self._value(f"{path}.{key}", given, saved, initial)
            return merged
        return self._whole_value(path, user, judge, base)

    def _whole_value(self, path: str, user: Any, judge: Any, base: Any) -> Any:
        """The user's value if it is given and may differ, else the judge's value."""
        if user is _ABSENT or user == judge or not self._is_given(path, user, base):
            return judge
        is_free = self.replaces or path.rpartition(".")[2] in FREE
        if is_free or self._is_selection(path, user, judge):
            return user
        self._contradiction(path, user, None if judge is _ABSENT else judge)
        return judge

    def _is_selection(self, path: str, user: Any, judge: Any) -> bool:
        """Whether the user selects some of the judge's dimensions, and the judge has a question for each dimension."""
        asks_separately = not str(self.judge.task.get("_target_")).endswith("AllDimensionsTask")
        if not path.endswith(".dimensions") or ".rubric." in path or not isinstance(user, list):
            return False
        return asks_separately and (judge is None or set(user) <= set(judge))

    def _is_given(self, path: str, value: Any, base: Any) -> bool:
        return is_given(path, self.setting_keys) or value != base

    def _data(
        self, where: str, user: Mapping[str, Any], judge: Mapping[str, Any], base: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The settings of the records: the user's; if these name no file, the sample that the judge was trained on."""
        saved, default_data = judge.get("data") or {}, base.get("data") or {}
        data = {**dict.fromkeys(SPLITS), **(user.get("data") or {})}

        def given(key: str) -> bool:
            return self._is_given(f"{where}.{key}", data.get(key), default_data.get(key))

        data |= {key: saved[key] for key in DATA if key in saved and not given(key)}
        if not names_records(data) and not given("sample"):
            data["sample"] = sample_folder(saved.get("sample"))
        return data

    def check_data(self, task: Mapping[str, Any]) -> None:
        """Report missing records of a judge that was not trained on the bundled sample."""
        if not _READ_DATA & set(self.config.stages):
            return
        parts = task.get("tasks") or {"": task}
        if any(
            names_records(part["data"]) or part["data"].get("sample") for part in parts.values()
        ):
            return
        where = f"task.tasks.{next(iter(parts))}.data" if task.get("tasks") else "task.data"
        self.problems.append(
            f"{where} names no records, and the judge in checkpoint={self.config.checkpoint} was not trained on "
            f"the bundled sample: give {where}.test=FILE.jsonl, or {where}.train and {where}.val for training."
        )

    def model(self, user: dict[str, Any]) -> dict[str, Any]:
        """The settings of the model, with the judge's family, base and head."""
        judge, base = self.judge.model, default("model")
        chosen = "model" in self.keys or any(
            user.get(key) != base.get(key) for key in ("_target_", "path")
        )
        model = dict(user)
        for key, value in judge.items():
            if key not in ("path", "revision"):
                # With another base, the class of the model is given too.
                initial = _ABSENT if chosen and key == "_target_" else base.get(key, _ABSENT)
                given = user.get(key, _ABSENT)
                model[key] = self._whole_value(f"model.{key}", given, value, initial)
        base_of_judge = {key: judge.get(key) for key in ("path", "revision")}
        if not self.judge.adapter:  # its weights are in the folder
            base_of_judge = {"path": str(self.judge.folder), "revision": None}
        if not chosen or user.get("path") == "???":
            model |= base_of_judge
        if self.judge.adapter:
            self._check_base(model)
        return model

    def _check_base(self, model: Mapping[str, Any]) -> None:
        if model["path"] == "auto":
            return  # joined from parts, whose settings are compared with those of the judge
        saved = self.judge.base_fingerprint
        now = model_identity(model["path"], model.get("revision"))
        if saved and now and saved != now and not self.replaces and model.get("path") != "???":
            self.problems.append(
                f"model.path={model['path']} holds other weights than those that the adapter in checkpoint="
                f"{self.config.checkpoint} was trained on ({self.judge.model.get('path')}, fingerprint {saved}; "
                f"here {now}): give the base of its training{_OR_OVERRIDE}"
            )

    def objective(self, task: Mapping[str, Any]) -> str | None:
        """The judge's objective, if the run trains with an objective and the user has given none."""
        trainer, saved = self.config.trainer, self.judge.objective
        if saved is None or "objective" not in trainer or Stage.train not in self.config.stages:
            return None
        if not OmegaConf.is_interpolation(trainer, "objective"):
            return None
        base = default("task", task.get("name")) or default("task")
        values = task.get("objective"), base.get("objective")
        return None if self._is_given("task.objective", *values) else saved

    def _contradiction(self, key: str, user: Any, judge: Any) -> None:
        self.problems.append(
            f"{key}={_shown(user)}, but the judge in checkpoint={self.config.checkpoint} has {_shown(judge)} "
            f"({self.judge.file.name}): leave out {key}{_OR_OVERRIDE}"
        )


_OR_OVERRIDE = ", or set checkpoint_override=true if your settings are to replace the judge's."


def _part(task: Mapping[str, Any], name: str) -> dict[str, Any]:
    return dict((task.get("tasks") or {}).get(name) or {})


def _with_limits(part: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """A task of a mixture with the settings `DATA` of ``data``; in a mixture, those of its parts have no effect."""
    kept = {key: value for key, value in (part.get("data") or {}).items() if key not in DATA}
    return {**part, "data": kept | {key: data[key] for key in DATA if key in data}}


def _shown(value: Any) -> str:
    """A value as text for a message; dimensions of a rubric are shown by key and scale."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        value = ", ".join(f"{item.get('key')} {item.get('scale')}" for item in value)
    text = "null" if value is None else " ".join(str(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
