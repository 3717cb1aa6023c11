"""The context of a run whose judge is a model behind an endpoint (``model=api``), so that no model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from omegaconf import DictConfig

from dramaeval.config.problems import ConfigError
from dramaeval.config.task_schema import OnBad
from dramaeval.data.feature_cache import FeatureCache
from dramaeval.data.records import Record
from dramaeval.distributed.processes import SINGLE_PROCESS, Processes
from dramaeval.evaluation.endpoint.client import ChatClient
from dramaeval.evaluation.endpoint.scoring import EndpointJudge
from dramaeval.evaluation.endpoint.usage import Usage, read_usage
from dramaeval.evaluation.scoring import AnyPrediction
from dramaeval.models.api_model import ApiModel
from dramaeval.models.inputs.text_check import TagCheck
from dramaeval.stages.api_plan import ApiPlan, plan_of
from dramaeval.stages.api_settings import asks_endpoint, task_problems
from dramaeval.stages.context import CallbackProvider, RunContext
from dramaeval.stages.progress import Progress
from dramaeval.stages.read_splits import check_texts
from dramaeval.stages.run_folder import RunFolder
from dramaeval.tasks.task import Task


@dataclass(frozen=True)
class ApiEncoder:
    """The parts of a record encoder that stages need if prompts are sent as text: the task and the check of texts."""

    task: Task
    family: ApiModel

    text_check = TagCheck()

    def for_task(self, task: Task, prompts_kept: int | None = None) -> ApiEncoder:
        """An encoder for another task; ``prompts_kept`` has no effect."""
        return ApiEncoder(task, self.family)


class ApiContext(RunContext):
    """`RunContext` with a judge behind an endpoint."""

    family: ApiModel

    def _build_judge_parts(self) -> None:
        super()._build_judge_parts()
        if problems := task_problems(self.task):
            raise ConfigError(problems)

    def _check_texts(self) -> None:
        skips = self.config.task.data.on_bad is OnBad.skip
        self.splits = check_texts(self.splits, self.task, TagCheck(), skips=skips)

    @property
    def place(self) -> str:
        """The endpoint that is asked, as a sentence for the log."""
        return f"Asking {self.family.path}, {self.family.concurrency} requests at a time."

    @property
    def record_encoder(self) -> Any:
        """The encoder of the run's task; stages derive encoders for other tasks from it."""
        return ApiEncoder(self.task, self.family)

    @property
    def _feature_cache(self) -> FeatureCache | None:
        """Return None: no features are computed on this machine."""
        return None

    def plan(self) -> ApiPlan:
        """The requests of the run."""
        return plan_of(self.family, self.splits.records, self.task)

    def usage(self) -> dict[str, Any]:
        """The requests, tokens and cost of the run, summed over all starts in the run folder."""
        return self._usage.figures(self.family)

    def score(
        self, records: Sequence[Record], progress: Progress, record_encoder: Any = None
    ) -> list[AnyPrediction]:
        """Score records; the requests are counted in the run folder even if scoring is interrupted."""
        config = self.config
        try:
            return self._judge.score(
                records,
                record_encoder or self.record_encoder,
                group_by=config.evaluation.group_by,
                skip_unreadable=config.task.data.on_bad is OnBad.skip,
                progress=progress,
                keep_thoughts=config.evaluation.keep_thoughts,
            )
        finally:
            self._usage.write(self.folder.path, self.family)

    @cached_property
    def _usage(self) -> Usage:
        return read_usage(self.folder.path)

    @cached_property
    def _judge(self) -> EndpointJudge:
        client, seconds = ChatClient(self.family, self._usage), self.config.task.data.max_seconds
        return EndpointJudge(client, max_seconds=seconds, seed=self.config.seed)


def context_of(
    config: DictConfig,
    folder: RunFolder,
    processes: Processes = SINGLE_PROCESS,
    identity: str | None = None,
    further_callbacks: CallbackProvider = lambda *_: (),
) -> RunContext:
    """The context of a run; see `RunContext` for the arguments."""
    kind = ApiContext if asks_endpoint(config) else RunContext
    return kind(config, folder, processes, identity, further_callbacks)
