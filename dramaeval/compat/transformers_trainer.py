"""Private methods of `transformers.Trainer` that a judge's training replaces.

`checkpoint_hooks` gives a trainer class public hooks in their place. Each function below states what it
replaces, why, since which version, and when it can be removed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

TrainerClass = TypeVar("TrainerClass", bound=type[Any])


def checkpoint_hooks(cls: TrainerClass) -> TrainerClass:
    """Let transformers call a trainer's hooks when it writes and reads checkpoints.

    The class defines:

    * ``checkpoint_files(folder)``: a context manager around the writing of a checkpoint;
    * ``load_weights(folder, best)``: reads the weights of the checkpoint to resume, or of the best one at the end
      of training, and returns True; returns False where transformers reads them correctly.
    """

    trainer: Any = cls

    def _save_checkpoint(self: Any, model: Any, trial: Any) -> None:
        """Replaces `Trainer._save_checkpoint`: calls it within `checkpoint_files`.

        Why: a checkpoint is marked as unfinished before its first file is written and sealed after its last,
        and an older one is deleted only after that. The callback ``on_save`` runs after transformers has
        deleted older ones.
        Since: transformers 5.0. TRL replaces the same method.
        Remove when: transformers calls a callback before it writes a checkpoint, and deletes after ``on_save``.
        """
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with self.checkpoint_files(folder):
            super(trainer, self)._save_checkpoint(model, trial)

    def _load_from_checkpoint(self: Any, resume_from_checkpoint: str, model: Any = None) -> None:
        """Replaces `Trainer._load_from_checkpoint` for judges whose weights it does not read.

        Why: (1) ``save_pretrained`` renames the weights of some architectures, Qwen2-Audio among them;
        transformers' trainer looks for the names of the modules, finds none, and continues with the weights in
        memory. (2) PEFT saves AdaLoRA without its spare ranks and their importance.
        Since: transformers 5.0; the fault is in 5.24.
        Remove when: the contract test's plain trainer resumes a full Qwen2-Audio with its saved weights, and
        PEFT saves the state of AdaLoRA's allocator.
        """
        if not self.load_weights(Path(resume_from_checkpoint), best=False):
            super(trainer, self)._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self: Any) -> None:
        """Replaces `Trainer._load_best_model` for the same judges.

        Why, since and removal: as `_load_from_checkpoint`.
        """
        if not self.load_weights(Path(self.state.best_model_checkpoint), best=True):
            super(trainer, self)._load_best_model()

    for method in (_save_checkpoint, _load_from_checkpoint, _load_best_model):
        setattr(cls, method.__name__, method)
    return cls
