"""The stage ``train``: the trainer is made, resumes where it was, and its judge is saved."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from dramaeval.config.batch_size import BatchError, step_size
from dramaeval.config.literal import instantiate, plain
from dramaeval.config.problems import ConfigError
from dramaeval.data.records import Record
from dramaeval.distributed.preemption import PreemptionCallback
from dramaeval.distributed.signals import STOP_REQUESTS
from dramaeval.distributed.zero import ZeroEngineCheck
from dramaeval.launch.sweeps.pruning import pruning
from dramaeval.models.adapters import attach, count_parameters
from dramaeval.models.inputs.audio_encodings import attach_encoding_cache, is_trained
from dramaeval.models.quantization import write_quantization
from dramaeval.stages import environment
from dramaeval.stages.export import LEFT_OUT
from dramaeval.stages.model_card import write_card
from dramaeval.stages.run_folder import RunFolder, is_complete, write_folder_atomic
from dramaeval.stages.storage_errors import StorageError
from dramaeval.training.callbacks import debug
from dramaeval.training.callbacks.progress import TrainingProgress
from dramaeval.training.checkpoints import has_ended, last_checkpoint, step_of
from dramaeval.training.grpo.arguments import in_completions
from dramaeval.training.question_sampler import trainable_dimensions

if TYPE_CHECKING:
    from dramaeval.stages.context import RunContext

log = logging.getLogger(__name__)


def train(run: RunContext) -> None:
    """Train, from the last checkpoint if there is one, and save the result."""
    if run.processes.broadcast(run.processes.is_rank_zero and is_complete(run.folder.model)):
        log.info("Training was finished before; taking the judge from %s.", run.folder.model)
        run.trained, run.model = True, None
        return
    if not run.validates:
        log.info("There is no val split: training is not validated and the last step is kept.")
    resume = _checkpoint_of(run)
    if run.args is not None and run.args.save_only_model:
        _warn_of_no_resuming(None if resume and _needs_weights_alone(run, resume) else resume)
    trainer = make_trainer(run, resume)
    if run.config.debug and run.processes.is_rank_zero:
        debug.dump_first_batch(trainer, run.folder.debug)
    if resume:
        log.info("Resuming from %s.", resume.name)
    with STOP_REQUESTS.noted_only():
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    write_folder_atomic(
        run.folder.model, lambda folder: save_judge(run, trainer, folder), run.processes
    )
    run.trained, run.model = True, trainer.accelerator.unwrap_model(trainer.model)


def _checkpoint_of(run: RunContext) -> Path | None:
    """The checkpoint to resume, which the first process looks for: it reads all files."""
    if not run.processes.is_rank_zero:
        return run.processes.broadcast(None)
    best = bool(run.args is not None and run.args.load_best_model_at_end)
    return run.processes.broadcast(last_checkpoint(run.folder.checkpoints, with_best=best))


def _needs_weights_alone(run: RunContext, checkpoint: Path) -> bool:
    """Whether a run can be finished from a checkpoint without an optimizer's state."""
    return has_ended(checkpoint) and not run.config.zero


def _warn_of_no_resuming(left: Path | None) -> None:
    if left is not None:
        raise ConfigError(
            [
                f"{left} was saved with trainer.args.save_only_model=true, without the optimizer's state: "
                "training cannot be resumed from it. Start anew in another folder (hydra.run.dir=…), "
                f"from its weights if you like: checkpoint={left}."
            ]
        )
    log.warning(
        "trainer.args.save_only_model=true: if this run is interrupted it cannot be resumed, only started "
        "anew or from a checkpoint's weights (checkpoint=FOLDER)."
    )


def save_judge(run: RunContext, trainer: Any, folder: Path) -> None:
    """Save what was trained, with its card; all processes take part, since ZeRO-3 gathers from each."""
    save(trainer, folder)
    if not run.processes.is_rank_zero:
        return
    if run.quantization is not None:
        write_quantization(run.quantization, folder)
    write_card(folder, run.folder.path)


def make_trainer(run: RunContext, resume: Path | None = None) -> Any:
    """The trainer that `trainer=…` names, over the run's judge and records.

    Args:
        run: with an adapter to attach, unless its checkpoint brings one.
        resume: the checkpoint that training will go on from.
    """
    model = run.model
    run.family.freeze_fixed(model)
    environment.seed_everything(run.config.seed)
    if run.adapter is not None and not (run.checkpoint and run.checkpoint.adapter):
        model = attach(model, run.adapter)
    if run.family.hears and is_trained(model, run.family.parts["audio"]):
        attach_encoding_cache(model, run.record_encoder, None)
    trained = sum(count for count, _ in count_parameters(model, run.family).values())
    log.info("Training %s parameters.", f"{trained:,}")
    settings = {key: value for key, value in plain(run.config.trainer).items() if key != "args"}
    try:
        # Only the constructor: what it raises is not wrapped.
        trainer = instantiate(settings, _partial_=True)(
            model=model,
            args=run.args,
            record_encoder=run.record_encoder,
            train_records=_trainable(run),
            val_records=run.splits["val"],
            batch=run.config.batch,
            callbacks=_callbacks(run, resume),
        )
    except BatchError as error:
        raise ConfigError([str(error)]) from None
    step = in_completions(run.config, step_size(run.config, run.processes.count))
    trainer.add_callback(ZeroEngineCheck(trainer, run.config.zero, step))
    return trainer


class FolderStillThere(TrainerCallback):
    """Stops a training whose run folder is gone; transformers would make it anew and fill it with half a run.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._open = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A folder is open when its configuration is in it."""
        self._open = self.folder.config.is_file()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look before anything is written.

        Raises:
            StorageError: the folder, or its configuration, is gone.
        """
        writes = control.should_log or control.should_save or control.should_evaluate
        if self._open and writes and not self.folder.config.is_file():
            raise StorageError(
                f"The run folder {self.folder.path} is gone: it was deleted or moved while the run went on."
            )


def _trainable(run: RunContext) -> list[Record]:
    """The training records with at least one rating of what is asked."""
    records = run.splits["train"]
    kept = [record for record in records if trainable_dimensions(run.task, record)]
    if len(kept) < len(records):
        log.warning(
            "%d of %d training records have no rating of what is asked; they train nothing.",
            len(records) - len(kept),
            len(records),
        )
    return kept


def _callbacks(run: RunContext, resume: Path | None) -> Iterable[Any]:
    step = step_of(resume) if resume else None
    return [
        TrainingProgress(),
        *([FolderStillThere(run.folder)] if run.processes.is_rank_zero else []),
        PreemptionCallback(STOP_REQUESTS, run.processes),
        *pruning(run.folder.path, run.processes, run.args),
        *run.loggers.callbacks(step),
    ]


def save(trainer: Any, folder: Path) -> None:
    """Save the model and its processor in the libraries' own formats."""
    trainer.save_model(str(folder))
    # Such as a pickle of the trainer's arguments: the run's configuration says the same, and readably.
    if not trainer.args.should_save:
        return
    for pattern in LEFT_OUT:
        for file in folder.glob(pattern):
            file.unlink()
