"""The stage ``train``: builds the trainer, resumes from the last checkpoint and saves the judge."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from transformers import TrainerCallback, set_seed

from dramaeval.config.batch_size import BatchError, step_size
from dramaeval.config.literal import instantiate, plain
from dramaeval.config.problems import ConfigError
from dramaeval.config.schema import Stage
from dramaeval.config.task_parts import files_of
from dramaeval.data.atomic_files import is_complete, write_folder_atomic
from dramaeval.data.records import Record
from dramaeval.distributed.preemption import PreemptionCallback
from dramaeval.distributed.signals import STOP_REQUESTS
from dramaeval.distributed.zero import ZeroEngineCheck
from dramaeval.models.adapters import attach, count_parameters
from dramaeval.models.forward.judge_model import unwrap_judge
from dramaeval.models.inputs.audio_encodings import is_trained
from dramaeval.models.inputs.record_encoder import attach_encoding_cache
from dramaeval.models.quantization import write_quantization
from dramaeval.stages.context import RunContext
from dramaeval.stages.export import LEFT_OUT
from dramaeval.stages.judge_yaml import write_judge_file
from dramaeval.stages.model_card import write_card
from dramaeval.stages.run_folder import RunFolder
from dramaeval.stages.storage_errors import StorageError, folder_gone
from dramaeval.training.callbacks import debug
from dramaeval.training.callbacks.progress import TrainingProgress
from dramaeval.training.checkpoints import has_ended, last_checkpoint, step_of
from dramaeval.training.grpo.arguments import in_completions

log = logging.getLogger(__name__)


def check(config: DictConfig) -> list[str]:
    """Problems of the settings of this stage."""
    if Stage.train in config.stages and "train" not in files_of(config.task):
        return ["task.data.train is not set, but stages has train: give a JSONL file."]
    return []


def run(context: RunContext) -> None:
    """Train, from the last checkpoint if there is one, and save the judge; skip a finished training."""
    folder, processes = context.folder, context.processes
    if processes.from_rank_zero(lambda: is_complete(folder.model)):
        log.info("The training is finished; the judge is loaded from %s.", folder.model)
        context.trained, context.model = True, None
        return
    if not context.validates:
        log.info("There is no val split: training is not validated and the last step is kept.")
    best = bool(context.args.load_best_model_at_end)
    resume = processes.from_rank_zero(lambda: last_checkpoint(folder.checkpoints, with_best=best))
    if context.args.save_only_model:
        _check_save_only_model(context, resume)
    trainer = make_trainer(context, resume)
    if context.config.debug and processes.is_rank_zero:
        debug.dump_first_batch(trainer, folder.debug)
    if resume:
        log.info("Resuming from %s.", resume.name)
    with STOP_REQUESTS.deferred():
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    write_folder_atomic(
        folder.model, lambda unfinished: save_judge(context, trainer, unfinished), processes
    )
    context.trained, context.model = True, trainer.accelerator.unwrap_model(trainer.model)


def _check_save_only_model(context: RunContext, resume: Path | None) -> None:
    """Refuse to resume without the optimizer's state, unless the training has ended and only needs to be saved.

    Raises:
        ConfigError: the training in ``resume`` has not ended.
    """
    if resume is not None and not (has_ended(resume) and not context.config.zero):
        raise ConfigError(
            f"{resume} was saved with trainer.args.save_only_model=true, without the optimizer's state: "
            "training cannot be resumed from it. Start a new training in another folder (hydra.run.dir=…), "
            f"optionally from its weights: checkpoint={resume}."
        )
    log.warning(
        "trainer.args.save_only_model=true: if this run is interrupted, it cannot be resumed; a new training can "
        "start from a checkpoint's weights (checkpoint=FOLDER)."
    )


def make_trainer(context: RunContext, resume: Path | None = None) -> Any:
    """The trainer that ``trainer=…`` names, with the run's judge and records.

    Args:
        context: the context of the run. Its adapter is attached, unless ``checkpoint`` is an adapter.
        resume: the checkpoint from which the training will continue.

    Raises:
        ConfigError: the sizes of batches contradict each other.
    """
    config, model = context.config, context.model
    context.family.freeze_fixed(model)
    set_seed(config.seed)
    if context.adapter is not None and context.starting_adapter is None:
        model = attach(model, context.adapter)
    tower = context.family.parts.get("audio")
    if tower is not None and is_trained(unwrap_judge(model), tower):
        attach_encoding_cache(model, context.record_encoder, None)
    trained = sum(count for count, _ in count_parameters(model, context.family).values())
    mixed = context.args.bf16 and context.dtype is torch.float32
    log.info(
        "Training %s parameters%s.",
        f"{trained:,}",
        " in bfloat16, with float32 weights" if mixed else "",
    )
    settings = {key: value for key, value in plain(config.trainer).items() if key != "args"}
    try:
        # With _partial_, errors in the constructor are not wrapped.
        trainer = instantiate(settings, _partial_=True)(
            model=model,
            args=context.args,
            record_encoder=context.record_encoder,
            train_records=_trainable_records(context),
            val_records=context.splits["val"],
            batch=config.batch,
            callbacks=_callbacks(context, resume),
            # A trainer class of the user may not have the argument.
            **({} if config.task.augment == "none" else {"augment": config.task.augment}),
        )
    except BatchError as error:
        raise ConfigError(str(error)) from None
    trainer.run_config = config
    step = in_completions(config, step_size(config, context.processes.count))
    trainer.add_callback(ZeroEngineCheck(trainer, config.zero, step))
    return trainer


def _trainable_records(context: RunContext) -> list[Record]:
    records, trainable = context.splits["train"], context.trainable_records
    if len(trainable) < len(records):
        log.warning(
            "%d of %d training records have no rating of the task's dimensions and are not used.",
            len(records) - len(trainable),
            len(records),
        )
    return trainable


def _callbacks(context: RunContext, resume: Path | None) -> Iterable[Any]:
    folder, processes = context.folder, context.processes
    return [
        TrainingProgress(),
        *([RunFolderCheck(folder)] if processes.is_rank_zero else []),
        PreemptionCallback(STOP_REQUESTS, processes),
        *context.callbacks,
        *context.further_callbacks(folder.path, processes, context.args),
        *context.loggers.callbacks(step_of(resume) if resume else None),
    ]


class RunFolderCheck(TrainerCallback):
    """Stops a training whose run folder was deleted, since transformers would create an incomplete folder."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._opened = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note whether the folder has a configuration at the start; otherwise it is not checked."""
        self._opened = self.folder.config.is_file()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Check the folder before the trainer writes to it.

        Raises:
            StorageError: the folder or its configuration was deleted.
        """
        writes = control.should_log or control.should_save or control.should_evaluate
        if self._opened and writes and not self.folder.config.is_file():
            raise StorageError(folder_gone(self.folder.path))


def save_judge(context: RunContext, trainer: Any, folder: Path) -> None:
    """Save the trained judge with its card; every process calls this, because ZeRO-3 gathers the weights."""
    save(trainer, folder)
    if not context.processes.is_rank_zero:
        return
    if context.quantization is not None:
        write_quantization(context.quantization, folder)
    write_judge_file(context, folder)
    write_card(folder, context.folder.path)


def save(trainer: Any, folder: Path) -> None:
    """Save the model and its processor in the libraries' formats, without files that only training needs."""
    trainer.save_model(str(folder))
    if not trainer.args.should_save:
        return
    # training_args.bin is a pickle of the trainer's arguments, which config.yaml has as text.
    for pattern in LEFT_OUT:
        for file in folder.glob(pattern):
            file.unlink()
