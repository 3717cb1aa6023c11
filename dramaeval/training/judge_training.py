"""What every training of a judge does alike: validation by agreement, checkpoints, words for trouble."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from transformers.trainer_utils import rotate_checkpoints

from dramaeval.data.manifest import DamagedFileError, begin, damage_in, seal
from dramaeval.data.records import Record
from dramaeval.distributed.processes import Processes
from dramaeval.evaluation.scoring import AnyPrediction, score
from dramaeval.models.inputs.collation import Batch
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.models.modes import new_weights_follow_umask
from dramaeval.training.callbacks import adalora as ranks
from dramaeval.training.checkpoints import last_checkpoint, was_stopped
from dramaeval.training.failure_diagnosis import explain_failures
from dramaeval.training.reshard import resharded_checkpoints
from dramaeval.training.safe_unpickling import weights_only
from dramaeval.training.validation_metrics import validation_metrics

if TYPE_CHECKING:
    from transformers import Trainer
else:
    Trainer = object

log = logging.getLogger(__name__)

T = TypeVar("T")


class JudgeTrainingMixin(Trainer):
    """Mixed into one of TRL's trainers, in front of it."""

    record_encoder: RecordEncoder
    val_records: Sequence[Record]
    batch_settings: Mapping[str, Any]
    current: Batch | None  # what is worked on, for messages
    _was_stopped = False  # whether the training that is resumed was ended early
    _was_over = False  # whether it had reached its end
    _since: float  # the beginning of the time that throughput is counted over

    @property
    def processes(self) -> Processes:
        """The processes that train together."""
        return Processes(self.args.process_index, self.args.world_size)

    def train(
        self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Train as TRL does, except that a training which has reached its end trains no more.

        Trouble that the user can mend is raised as `TroubleError`.

        Raises:
            ModelError: a file of the checkpoint to go on from would run code.
        """
        resume = self.whole_checkpoint(resume_from_checkpoint)
        self._was_stopped = resume is not None and was_stopped(Path(resume))
        reading = weights_only(deepspeed=self.is_deepspeed_enabled)
        with explain_failures(self), resharded_checkpoints(self.processes), reading:
            return super().train(resume, *args, **kwargs)

    def whole_checkpoint(self, asked: str | bool | None) -> str | None:
        """The checkpoint to resume, before anything of it is read; True asks for the newest whole one.

        Raises:
            DamagedFileError: the one that is named is damaged.
            ValueError: there is none.
        """
        if asked is True:
            output = Path(self.args.output_dir)
            found = self._of_first(
                lambda: last_checkpoint(output, with_best=self.args.load_best_model_at_end)
            )
            if found is None:
                raise ValueError(
                    f"{output} holds no whole checkpoint: leave out resume_from_checkpoint."
                )
            return str(found)
        if not asked:
            return None
        self._require_whole(Path(asked), "Resume an earlier one.")
        return asked

    def _require_whole(self, checkpoint: Path, advice: str) -> None:
        if damage := self._of_first(lambda: damage_in(checkpoint)):
            raise DamagedFileError(f"{checkpoint} is damaged: {'; '.join(damage)}. {advice}")

    def _of_first(self, work: Callable[[], T]) -> T:
        """What the first process finds; the files are read by it alone."""
        return self.processes.broadcast(work() if self.processes.is_rank_zero else cast(T, None))

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Train an epoch.

        transformers looks whether the end is reached after a step alone: resumed from the checkpoint of its
        last step, it would take one more.
        """
        if self._was_stopped or self.state.global_step >= self.state.max_steps:
            log.info("Training has reached its end at step %d before.", self.state.global_step)
            self._was_over = self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, except the summary of a training in which nothing was trained."""
        if not (self._was_over and "train_runtime" in logs):
            super().log(logs, start_time)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Score the validation records and log their agreement with the raters."""
        began = time.monotonic()
        metrics = validation_metrics(self.predict_records(self.val_records))
        logged = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        logged[f"{metric_key_prefix}_runtime"] = time.monotonic() - began
        training = self.model.training
        self.model.eval()  # TRL files its own figures under the mode of the model
        self.log(logged)
        self.model.train(training)
        self.control: Any = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, logged
        )
        self._since += time.monotonic() - began
        return logged

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Whether this validation is the best so far; one without the figure that decides is not."""
        wanted = f"eval_{(self.args.metric_for_best_model or 'loss').removeprefix('eval_')}"
        if wanted not in metrics:
            log.warning("val: %s is undefined here, so this step cannot be the best.", wanted)
            return False
        return super()._determine_best_metric(metrics, trial)

    def predict_records(self, records: Sequence[Record]) -> list[AnyPrediction]:
        """Score records with the model as it stands."""
        return score(
            self.model,
            records,
            self.record_encoder,
            clips_a_batch=self.batch_settings["eval_clips"],
            shared_prefix=self.batch_settings["shared_prefix"],
            processes=self.processes,
            writes_answers=False,
        )

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        folder = Path(output_dir or self.args.output_dir)
        with new_weights_follow_umask(folder):
            super()._save(output_dir, state_dict)
            if ranks.is_adalora(self.model) and self.args.should_save:
                ranks.save_ranks(self.model, folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if ranks.is_adalora(self.model):
            ranks.load_ranks(self.model, Path(resume_from_checkpoint))
        elif self._saves_whole_models:
            self._load_whole(resume_from_checkpoint)
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        best = Path(self.state.best_model_checkpoint)
        self._require_whole(
            best,
            "It was the best on val. Start the run again in its folder: it goes on from the newest checkpoint "
            "that is whole.",
        )
        if ranks.is_adalora(self.model):
            ranks.load_ranks(self.model, best)
            ranks.cut_ranks(self.model)
        elif self._saves_whole_models:
            self._load_whole(str(best))
        else:
            super()._load_best_model()

    @property
    def _saves_whole_models(self) -> bool:
        """Whether a checkpoint holds the model itself: no adapter, and no engine that splits it."""
        from peft import PeftModel

        return not isinstance(self.model, PeftModel) and not self.is_deepspeed_enabled

    def _load_whole(self, folder: str) -> None:
        """Read a full model's weights as `from_pretrained` does.

        transformers (5.24) renames weights when it saves some architectures, Qwen2-Audio among them. Its
        trainer looks for the modules' own names, finds none, and goes on with the weights that are there.
        """
        kept = type(self.model).from_pretrained(folder, dtype=self.model.dtype)
        self.model.load_state_dict(kept.state_dict())

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint and its manifest; an older one is deleted after that and not before."""
        folder = Path(self._get_output_dir(trial))
        checkpoint = folder / f"checkpoint-{self.state.global_step}"
        self.processes.on_rank_zero(lambda: begin(checkpoint))
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        self.processes.barrier()
        seal(checkpoint, self.processes)
        if self.args.should_save:
            rotate_checkpoints(
                output_dir=str(folder),
                save_total_limit=limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
                use_mtime=True,
            )

    def _save_rng_state(self, output_dir: str) -> None:
        """Wait until every process has written its part.

        The state, by which a checkpoint counts as complete, is written right after this.
        """
        super()._save_rng_state(output_dir)
        self.processes.barrier()

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Checkpoints carry none: TRL's would describe a language model, not a judge."""


def adapter_weights(model: Any) -> list[tuple[torch.nn.Parameter, torch.Tensor]]:
    """The trained weights of a quantised model and copies of their values; nothing for other models."""
    if not getattr(model, "is_loaded_in_4bit", False) and not getattr(
        model, "is_loaded_in_8bit", False
    ):
        return []
    return [(one, one.data.clone()) for one in model.parameters() if one.requires_grad]
