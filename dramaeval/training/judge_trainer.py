"""The base class of the trainers: records, validation, checkpoints, figures and failures."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, ClassVar

import datasets
import torch
from accelerate.data_loader import prepare_data_loader
from omegaconf import DictConfig
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from dramaeval.compat.accelerate import import_deepspeed_only_for_zero
from dramaeval.compat.deepspeed import weights_only_loading
from dramaeval.compat.peft import adalora_settings, load_ranks, mask_unused_ranks, save_ranks
from dramaeval.compat.safetensors import new_weights_follow_umask
from dramaeval.compat.transformers import checkpoint_hooks
from dramaeval.compat.trl import adapters_keep_precision
from dramaeval.config.task_schema import OnBad
from dramaeval.data.records import Record
from dramaeval.distributed.processes import Processes
from dramaeval.evaluation.scoring import AnyPrediction, score
from dramaeval.models.errors import ModelError
from dramaeval.models.failures import first_line
from dramaeval.models.inputs.collation import Batch
from dramaeval.models.inputs.record_encoder import RecordEncoder
from dramaeval.training.callbacks.adalora import RankSchedule, moves_ranks
from dramaeval.training.checkpoints import (
    checkpoint_to_resume,
    fingerprints_of,
    require_same_records,
    require_undamaged,
    restore_callbacks,
    sealed_checkpoint,
    was_stopped,
)
from dramaeval.training.failure_diagnosis import explain_failures
from dramaeval.training.learning_rates import divide_groups
from dramaeval.training.resharding import any_number_of_processes
from dramaeval.training.step_batches import EpochOrder
from dramaeval.training.step_statistics import StepStatistics
from dramaeval.training.training_effect import TrainingEffect
from dramaeval.training.validation_metrics import validation_metrics

if TYPE_CHECKING:
    from transformers import Trainer
else:
    Trainer = object

log = logging.getLogger(__name__)


@checkpoint_hooks
class JudgeTrainer(Trainer):
    """The base class of a judge's trainers; in a subclass, a trainer of TRL is the second base class.

    Args:
        model: the judge, or PEFT's wrapper around it.
        args: TRL's arguments.
        record_encoder: prepares records for the model.
        order: the order of the training records.
        train_records: the training records; each has at least one rating.
        val_records: the validation records; empty for no validation.
        batch: the settings ``batch.*`` of the configuration.
        learning_rates: learning rates of parts of the model, see `dramaeval.training.learning_rates`.
        trl_arguments: further arguments for the constructor of TRL's trainer, such as ``callbacks``.

    Attributes:
        current: the batch of the last forward pass, for messages about failures.
        run_config: the configuration of the run, for advice in these messages; None for a trainer from Python.
        statistics: the measurements between two logged steps.
    """

    #: Counts that are logged as throughput.
    rates: ClassVar[Sequence[str]] = ("tokens", "questions")
    run_config: DictConfig | None = None

    def __init__(
        self,
        *,
        model: Any,
        args: Any,
        record_encoder: RecordEncoder,
        order: EpochOrder,
        train_records: Sequence[Record],
        val_records: Sequence[Record],
        batch: Mapping[str, Any],
        learning_rates: dict[str, float | None] | None = None,
        **trl_arguments: Any,
    ) -> None:
        self.record_encoder = record_encoder
        self.train_records = train_records
        self.val_records = val_records
        self.batch_settings = batch
        self.learning_rates = learning_rates or {}
        self.order = order
        self.current: Batch | None = None
        self.statistics = StepStatistics(self.rates)
        self._uncounted_tokens = 0
        self._was_stopped = False
        self._effect = TrainingEffect()
        # The parameters are counted before ZeRO-3 splits the weights.
        self._parameter_count = sum(weight.numel() for weight in model.parameters())
        import_deepspeed_only_for_zero()
        with adapters_keep_precision(model):
            super().__init__(
                model=model,
                args=args,
                # TRL's datasets only have the number of records; the records stay in memory.
                train_dataset=_placeholders(len(order)),
                eval_dataset=_placeholders(len(val_records)) if val_records else None,
                **trl_arguments,
            )
        self.add_callback(self._effect)
        if moves_ranks(model):
            self.add_callback(RankSchedule())
        # `dramaeval.training.callbacks.progress.TrainingProgress` reports the progress of a run.
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)

    @property
    def processes(self) -> Processes:
        """The processes of the training."""
        return Processes(self.args.process_index, self.args.world_size)

    @property
    def has_finished(self) -> bool:
        """Whether the training has reached its last step, or a callback stopped it before."""
        return self._was_stopped or self.state.global_step >= self.state.max_steps

    # Training

    def train(
        self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Train as TRL does; a training that resumes after its last step takes no further step.

        Raises:
            DamagedFileError: the checkpoint to resume is damaged.
            OtherRecordsError: the checkpoint belongs to a training with other records.
            ModelError: a file of the checkpoint could run code.
            TrainingFailureError: memory is exhausted, or the loss is not finite.
            ValueError: ``resume_from_checkpoint=True``, and there is no undamaged checkpoint.
        """
        checkpoint = checkpoint_to_resume(resume_from_checkpoint, self)
        if checkpoint:
            self.before_resuming(Path(checkpoint))
        reading = weights_only_loading(deepspeed=self.is_deepspeed_enabled)
        try:
            with explain_failures(self), any_number_of_processes(self.processes), reading:
                result = super().train(checkpoint, *args, **kwargs)
                self._effect.report(self.model, self.state)
                return result
        except UnpicklingError as error:
            raise ModelError(
                "The checkpoint to resume has a pickle that holds more than weights, and reading it could run "
                "code: it is not read. Start anew in another folder (hydra.run.dir=…). "
                f"({first_line(error)})"
            ) from error

    def before_resuming(self, checkpoint: Path) -> None:
        """Check the records against a checkpoint, and restore the states of the trainer and its callbacks.

        Raises:
            OtherRecordsError: the checkpoint belongs to a training with other records.
        """
        require_same_records(checkpoint, self)
        self._was_stopped = was_stopped(checkpoint)
        restore_callbacks(checkpoint, self.callback_handler.callbacks)

    @cached_property
    def fingerprints(self) -> str:
        """The fingerprints of the records, for checkpoints."""
        splits = {"train": self.train_records, "val": self.val_records}
        return fingerprints_of(splits, reads_audio=self.record_encoder.family.takes_audio)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Create the optimizer of transformers, and set the learning rates of parts."""
        is_new = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if is_new:
            divide_groups(
                optimizer, model or self.model, self.record_encoder.family, self.learning_rates
            )
        return optimizer

    def get_train_dataloader(self) -> Any:
        """The loader of this process's batches, in the order of `batch_sampler`."""
        args = self.args
        loader = torch.utils.data.DataLoader(
            RecordNumbers(self.order),
            batch_sampler=self.batch_sampler(),
            collate_fn=self.data_collator,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
        )
        # With num_processes=1, accelerate moves batches to the device and does not distribute them again.
        return prepare_data_loader(
            loader, args.device, num_processes=1, process_index=0, put_on_device=True
        )

    @abstractmethod
    def batch_sampler(self) -> torch.utils.data.Sampler[list[int]]:
        """The sampler of this process's batches in an epoch, as numbers of records."""

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """The batches of an optimizer step; empty after the last step.

        transformers checks for the end of a training only after a step. Without this method, a training that resumes
        from the checkpoint of its last step would take another step.
        """
        if self.has_finished:
            log.info("Training had reached its end at step %d.", self.state.global_step)
            self.control.should_training_stop = True
            return [], None
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    # Figures

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the trainer's figures to a logged step."""
        # Only logs with a loss are written in all processes, so that they can gather figures.
        if "loss" in logs:
            figures, counts = self.statistics.collect(self.processes)
            logs |= figures | self.step_figures(counts)
        if "train_runtime" in logs and not self._effect.steps(self.state):
            return  # there is no summary of a training without a step
        super().log(logs, start_time)

    @abstractmethod
    def step_figures(self, counts: Counter[str]) -> dict[str, float]:
        """Further figures of a logged step.

        Args:
            counts: the counts of `StepStatistics`, over all processes since the last logged step.
        """

    def begin_pass(self, batch: Batch) -> None:
        """Remember the batch of the next forward pass."""
        self.current = batch
        self._uncounted_tokens += batch.tokens

    def floating_point_ops(self, inputs: Any) -> int:
        """Operations since the last call: 6 for each weight and token (Kaplan et al. 2020)."""
        tokens, self._uncounted_tokens = self._uncounted_tokens, 0
        return 6 * self._parameter_count * tokens

    # Validation

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Score records and log the agreement with their raters.

        Args:
            eval_dataset: the records, for example `AudioDataset.records`; None for the validation records.
            ignore_keys: is not used.
            metric_key_prefix: the beginning of the figures' names.

        Returns:
            the logged figures. If ``metric_for_best_model`` is undefined during training, it is NaN, which is never
            the best.

        Raises:
            TypeError: ``eval_dataset`` is not a sequence of records.
        """
        records = self.val_records if eval_dataset is None else eval_dataset
        if not (isinstance(records, Sequence) and all(isinstance(one, Record) for one in records)):
            raise TypeError(
                f"eval_dataset is a {type(eval_dataset).__name__}: give a list of records, for example "
                "AudioDataset(…).records, or None for the validation records."
            )
        started = time.monotonic()
        metrics = validation_metrics(self.predict_records(records))
        logs = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        logs[f"{metric_key_prefix}_runtime"] = time.monotonic() - started
        training = self.model.training
        self.model.eval()  # TRL has separate figures for the two modes of the model
        self.log(logs)
        self.model.train(training)
        self.control: Any = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, logs
        )
        self.statistics.pause(time.monotonic() - started)
        deciding = f"eval_{(self.args.metric_for_best_model or '').removeprefix('eval_')}"
        if not self.is_in_train or not self.args.metric_for_best_model or deciding in logs:
            return logs
        log.warning("val: %s is undefined here, so this step cannot be the best.", deciding)
        return {**logs, deciding: float("nan")}

    def predict_records(self, records: Sequence[Record]) -> list[AnyPrediction]:
        """Score records with the current weights."""
        config = self.run_config
        return score(
            self.model,
            records,
            self.record_encoder,
            clips_a_batch=self.batch_settings["eval_clips"],
            shared_prefix=self.batch_settings["shared_prefix"],
            skip_unreadable=config is not None and config.task.data.on_bad is OnBad.skip,
            processes=self.processes,
            writes_answers=False,
        )

    # Checkpoints

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model as transformers does, with the permissions of the umask and the state of AdaLoRA."""
        folder = Path(output_dir or self.args.output_dir)
        with new_weights_follow_umask(folder):
            super().save_model(output_dir, _internal_call)
            if adalora_settings(self.model) and self.args.should_save:
                save_ranks(self.model, folder)

    def checkpoint_files(self, folder: Path) -> AbstractContextManager[None]:
        """A context that seals a checkpoint after its last file is written."""
        return sealed_checkpoint(folder, self)

    def load_weights(self, folder: Path, *, best: bool) -> bool:
        """Read the weights of a checkpoint; return False, without reading, if transformers reads them correctly."""
        from peft import PeftModel

        if best:
            require_undamaged(
                folder,
                self.processes,
                "It was the best on val. Start the run again in its folder: it resumes the newest undamaged "
                "checkpoint.",
            )
        if adalora_settings(self.model):
            load_ranks(self.model, folder)
            if best:
                mask_unused_ranks(self.model)
        elif isinstance(self.model, PeftModel) or self.is_deepspeed_enabled:
            return False
        else:
            saved = type(self.model).from_pretrained(folder, dtype=self.model.dtype)
            self.model.load_state_dict(saved.state_dict())
        return True

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write no model card, because TRL's card would describe a language model, not a judge."""


class RecordNumbers(torch.utils.data.Dataset[dict[str, int]]):
    """The rows of the training records, see `EpochOrder.row`.

    Args:
        order: the order of the records.
    """

    def __init__(self, order: EpochOrder) -> None:
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, number: int) -> dict[str, int]:
        return self.order.row(number)


def _placeholders(count: int) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"record": list(range(count))})
