"""Checks of what evaluation is asked for: stages that go together, controls by name, runs to compare."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from omegaconf import DictConfig

from dramaeval.config.schema import CONTROLS, Stage, split_files
from dramaeval.config.task_parts import parts_of, where_of


def check_evidence(config: DictConfig) -> list[str]:
    """Problems of ``evaluation``, ``input``, ``runs``, ``report`` and ``task.shots``."""
    stages = set(config.stages)
    return [
        *_check_input(config, stages),
        *_check_runs(config, stages),
        *_check_controls(config, stages),
        *_check_shots(config),
    ]


def _check_input(config: DictConfig, stages: set[Stage]) -> list[str]:
    scoring = {Stage.score, Stage.leaderboard} & stages
    if not scoring:
        unread = config.input is not None
        return (
            ["input=… is read by stages=[score] and stages=[leaderboard] alone."] if unread else []
        )
    name = min(one.name for one in scoring)
    problems = []
    if config.input is None:
        problems.append(f"stages=[{name}] needs input=FILE.jsonl: the clips.")
    if Stage.evaluate in stages:
        problems.append(
            f"stages has evaluate and {name}, and both write predictions.jsonl: make two runs of it, the "
            "second with checkpoint=RUN of the first."
        )
    return problems


def _check_runs(config: DictConfig, stages: set[Stage]) -> list[str]:
    problems = []
    if Stage.report not in stages:
        if config.runs:
            problems.append("runs=[…] is read by stages=[report] alone.")
        return problems
    if len(stages) > 1:
        problems.append(
            "stages=[report] compares finished runs and goes alone; a run that evaluates writes its own "
            "report.html by itself."
        )
    if not config.runs:
        problems.append("stages=[report] needs runs=[FOLDER,FOLDER,…]: what is to be compared.")
    problems += [
        f"runs: {run} is not a folder."
        for run in config.runs
        if not Path(run).expanduser().is_dir()
    ]
    if config.report.split not in (None, "val", "test"):
        problems.append(f"report.split={config.report.split} must be val or test.")
    if config.report.phase not in (None, "zero_shot", "final"):
        problems.append(f"report.phase={config.report.phase} must be zero_shot or final.")
    return problems


def _check_controls(config: DictConfig, stages: set[Stage]) -> list[str]:
    evaluation, problems = config.evaluation, []
    if Stage.controls in stages and Stage.evaluate not in stages:
        problems.append(
            "stages has controls without evaluate: they are compared with the judge's own scores, so write "
            "stages=[evaluate,controls]."
        )
    for name in evaluation.controls:
        if name not in CONTROLS:
            near = get_close_matches(name, CONTROLS, 1)
            hint = f" Did you mean {near[0]}?" if near else ""
            problems.append(
                f"evaluation.controls: {name} is not known; choose from {', '.join(CONTROLS)}.{hint}"
            )
    if evaluation.phrasings < 2:
        problems.append(f"evaluation.phrasings={evaluation.phrasings} must be 2 or more.")
    if evaluation.prosody_clips < 10:
        problems.append(f"evaluation.prosody_clips={evaluation.prosody_clips} must be 10 or more.")
    return problems


def _check_shots(config: DictConfig) -> list[str]:
    inside = [
        f"{where_of(config.task, part)}.shots={node.shots}: a mixture shows no examples: "
        "set it to 0."
        for part, node in parts_of(config.task).items()
        if config.task.get("tasks") and node.get("shots")
    ]
    if inside:
        return inside
    shots = config.task.get("shots") or 0
    if not isinstance(shots, int) or shots < 0:
        return [f"task.shots={shots} must be a whole number from 0 on."]
    if shots and Stage.prepare in config.stages:
        return [
            f"task.shots={shots} with stages=[prepare]: a prepared line holds one clip, and examples have "
            "their own. Set task.shots=0."
        ]
    if shots and "train" not in split_files(config.task.data):
        return [f"task.shots={shots} takes its examples from task.data.train: give a JSONL file."]
    return []
