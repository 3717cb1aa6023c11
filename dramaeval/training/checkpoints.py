"""Checkpoints of a training: finds one to resume, reads its state, and writes it completely or not at all.

A checkpoint has the fingerprints of the records: a training resumes only with the records that it began with.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import rotate_checkpoints

from dramaeval.data.content_hashes import ContentHashes
from dramaeval.data.fingerprint import (
    RECORDS,
    differences,
    read_prints,
    record_prints,
    write_prints,
)
from dramaeval.data.jsonl import read_object
from dramaeval.data.manifest import DamagedFileError, begin, damage_in, seal
from dramaeval.data.records import Record
from dramaeval.distributed.processes import Processes
from dramaeval.errors import UserFacingError

log = logging.getLogger(__name__)

_PREFIX = "checkpoint-"


class OtherRecordsError(UserFacingError, ValueError):
    """The training of a checkpoint began with other records."""


def last_checkpoint(folder: Path, *, with_best: bool = False) -> Path | None:
    """The newest undamaged checkpoint, or None; the damage of newer checkpoints is logged.

    Args:
        folder: the folder that contains the checkpoints.
        with_best: also require that the best checkpoint is undamaged, because training loads it at its end.
    """
    checkpoints = [
        path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdecimal()
    ]
    for checkpoint in sorted(checkpoints, key=step_of, reverse=True):
        problem = _problem(checkpoint) or (with_best and _problem_with_best(checkpoint))
        if not problem:
            return checkpoint
        log.warning("%s is skipped: %s.", checkpoint.name, problem)
    if checkpoints:
        log.warning("%s holds no undamaged checkpoint: training starts anew.", folder)
    return None


def checkpoint_to_resume(requested: str | bool | None, trainer: Any) -> str | None:
    """The checkpoint that `Trainer.train` resumes; all its files are checked before one is read.

    Args:
        requested: the folder of a checkpoint; True for the newest undamaged checkpoint; False or None for none.
        trainer: a `JudgeTrainer`, whose arguments name the folder with the checkpoints.

    Raises:
        DamagedFileError: the requested checkpoint is damaged.
        ValueError: ``requested`` is True, and no checkpoint is undamaged.
    """
    if not requested:
        return None
    if requested is not True:
        require_undamaged(Path(requested), trainer.processes, "Resume an earlier one.")
        return requested
    folder, with_best = Path(trainer.args.output_dir), trainer.args.load_best_model_at_end
    newest = trainer.processes.from_rank_zero(lambda: last_checkpoint(folder, with_best=with_best))
    if newest is None:
        raise ValueError(
            f"{folder} holds no undamaged checkpoint: leave out resume_from_checkpoint."
        )
    return str(newest)


def require_undamaged(checkpoint: Path, processes: Processes, advice: str) -> None:
    """Raise DamagedFileError, with advice for the user, if a file of a checkpoint is damaged."""
    if damage := processes.from_rank_zero(lambda: damage_in(checkpoint)):
        raise DamagedFileError(f"{checkpoint} is damaged: {'; '.join(damage)}. {advice}")


def fingerprints_of(splits: Mapping[str, Sequence[Record]], *, reads_audio: bool) -> str:
    """The fingerprints of the records of a training, as text for its checkpoints."""
    hashes = ContentHashes()
    return write_prints(
        {
            split: record_prints(records, hashes, reads_audio=reads_audio)
            for split, records in splits.items()
        }
    )


def require_same_records(checkpoint: Path, trainer: Any) -> None:
    """Raise OtherRecordsError if a checkpoint was written with other records than a `JudgeTrainer` has."""
    # Only rank 0 reads the clips.
    problem = trainer.processes.from_rank_zero(
        lambda: other_records(checkpoint, trainer.fingerprints)
    )
    if problem:
        raise OtherRecordsError(problem)


def other_records(checkpoint: Path, text: str) -> str | None:
    """Describe the differences between the records of a checkpoint and the records of this start; None without one.

    Args:
        checkpoint: the folder; a checkpoint of an earlier version has no fingerprints and is not compared.
        text: the `fingerprints_of` the records of this start.
    """
    file = checkpoint / RECORDS
    if not file.is_file() or (saved := file.read_text(encoding="utf-8")) == text:
        return None
    before, now = read_prints(saved), read_prints(text)
    changes = [
        f"{split}: {change}"
        for split in ("train", "val")
        for change in differences(before.get(split, []), now.get(split, []))
    ]
    return (
        f"{checkpoint} was written in a training with other records. {'; '.join(changes)}. Restore them to resume the "
        "training, or start anew: leave out resume_from_checkpoint and give another output_dir."
    )


@contextmanager
def sealed_checkpoint(folder: Path, trainer: Any) -> Iterator[None]:
    """Mark a checkpoint as unfinished while this block writes it; then seal it and delete older checkpoints.

    transformers would delete older checkpoints before this one is sealed. Its limit is therefore removed in the block.

    Args:
        folder: the folder of the checkpoint.
        trainer: a `JudgeTrainer`.
    """
    args, processes = trainer.args, trainer.processes
    records = trainer.fingerprints if processes.is_rank_zero else None
    processes.on_rank_zero(lambda: begin(folder))
    limit, args.save_total_limit = args.save_total_limit, None
    try:
        yield
    finally:
        args.save_total_limit = limit
    if records is not None:
        (folder / RECORDS).write_text(records, encoding="utf-8")
    processes.barrier()
    seal(folder, processes)
    if args.should_save:
        rotate_checkpoints(
            output_dir=str(folder.parent),
            save_total_limit=limit,
            best_model_checkpoint=trainer.state.best_model_checkpoint,
            use_mtime=True,
        )


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was written."""
    return int(checkpoint.name.removeprefix(_PREFIX))


def _problem(checkpoint: Path) -> str | None:
    if damage := damage_in(checkpoint):
        return "; ".join(damage)
    # Checkpoints of earlier versions have no manifest; they are complete if the trainer's state is.
    return None if "global_step" in state_of(checkpoint) else "it is incomplete"


def _problem_with_best(checkpoint: Path) -> str | None:
    name = state_of(checkpoint).get("best_model_checkpoint")
    best = checkpoint.parent / Path(name or checkpoint).name
    if best == checkpoint or not best.is_dir() or not (problem := _problem(best)):
        return None
    return f"training would return to {best.name}, the best on val, which is damaged: {problem}"


def find_own_best(state: Any, folder: Path) -> None:
    """Set the best checkpoint in a resumed state to that of its own run.

    The state records the place where it was written. A moved run has no checkpoint there, and a copied run has the
    checkpoint of the run that it was copied from.

    Args:
        state: transformers' state of the training.
        folder: the folder that contains the checkpoints.
    """
    best = folder / f"{_PREFIX}{state.best_global_step}"
    if state.best_global_step and best.is_dir():
        state.best_model_checkpoint = str(best)


def has_ended(checkpoint: Path) -> bool:
    """Whether a checkpoint is the last one of its training."""
    state = state_of(checkpoint)
    return was_stopped(checkpoint) or state.get("global_step", 0) >= state.get("max_steps", 1)


def was_stopped(checkpoint: Path) -> bool:
    """Whether a callback ended the training at this checkpoint, before its last step."""
    state = state_of(checkpoint)
    control = state.get("stateful_callbacks", {}).get("TrainerControl", {})
    stops = control.get("args", {}).get("should_training_stop", False)
    return bool(stops) and state["global_step"] < state["max_steps"]


def restore_callbacks(checkpoint: Path, callbacks: Iterable[Any]) -> None:
    """Restore the attributes of callbacks from a checkpoint, such as the count of early stopping.

    Args:
        checkpoint: the checkpoint to resume.
        callbacks: the callbacks of the trainer; only callbacks that export a state
            (`transformers.trainer_callback.ExportableState`) are restored, in the saved order for each class.
    """
    saved = state_of(checkpoint).get("stateful_callbacks", {})
    left = {
        name: list(states) if isinstance(states, list) else [states]
        for name, states in saved.items()
    }
    for callback in callbacks:
        states = left.get(type(callback).__name__)
        if isinstance(callback, ExportableState) and states:
            for name, value in states.pop(0).get("attributes", {}).items():
                setattr(callback, name, value)


def state_of(checkpoint: Path) -> dict[str, Any]:
    """The trainer's state in a checkpoint; empty if it is missing or damaged."""
    return read_object(checkpoint / "trainer_state.json")
