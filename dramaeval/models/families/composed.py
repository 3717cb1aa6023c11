"""A judge of two parts: any Whisper encoder before any causal language model, as a Qwen2-Audio checkpoint.

The checkpoint is written once, when the judge is first loaded, and is a Qwen2-Audio from then on; a plan reads the
configurations of the parts alone. See `dramaeval.models.composing`.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from dramaeval.config.home_folder import expand_home
from dramaeval.data.atomic_files import is_complete
from dramaeval.data.manifest import NAME as MANIFEST
from dramaeval.data.manifest import seal
from dramaeval.models.composing import RECIPE, JudgeParts
from dramaeval.models.errors import ModelError
from dramaeval.models.families.qwen2_audio import Qwen2Audio
from dramaeval.models.loading import ModelFiles

log = logging.getLogger(__name__)

#: The value of ``path`` with which the checkpoint is written to `CACHE`.
AUTO = "auto"
#: The variable with the folder of composed checkpoints, and its default.
VARIABLE, CACHE = "DRAMAEVAL_COMPOSED", "~/.cache/dramaeval/composed"


class Composed(Qwen2Audio):
    """An encoder and a language model that are joined; see `Family` for the other arguments.

    Args:
        audio: a Whisper or Qwen2-Audio checkpoint: a folder or a name on the hub.
        text: a causal language model, or a Qwen2-Audio checkpoint: a folder or a name on the hub.
        audio_revision: branch, tag or commit of ``audio`` on the hub.
        text_revision: branch, tag or commit of ``text`` on the hub.
        projector_seed: of the new projector's weights.
        path: the folder of the joined checkpoint, which is new or holds the same parts; ``auto`` is one in
            ``$DRAMAEVAL_COMPOSED``, else in ``~/.cache/dramaeval/composed``.
        kwargs: arguments of `Family`.

    Raises:
        ValueError: ``revision`` is given.
    """

    new_parts = ("projector",)

    def __init__(
        self,
        *,
        audio: str,
        text: str,
        audio_revision: str | None = None,
        text_revision: str | None = None,
        projector_seed: int = 0,
        path: str = AUTO,
        **kwargs: Any,
    ) -> None:
        if kwargs.get("revision") is not None:
            raise ValueError(
                "model.revision: a composed judge has two sources; give model.audio_revision or model.text_revision."
            )
        code = bool(kwargs.get("trust_remote_code", False))
        self.judge_parts = JudgeParts(
            ModelFiles(_expanded(audio), audio_revision, code, "model.audio"),
            ModelFiles(_expanded(text), text_revision, code, "model.text"),
            projector_seed,
        )
        if path == AUTO:
            cache = expand_home(os.environ.get(VARIABLE) or CACHE)
            path = str(cache.absolute() / self.judge_parts.identity)
        super().__init__(path=_expanded(path), **kwargs)

    def stored_configuration(self, checkpoint: Path | None = None) -> Any:
        """The configuration of a checkpoint, or of the parts while they are not joined."""
        if checkpoint is None and not self._is_written():
            return self.judge_parts.configuration()
        return super().stored_configuration(checkpoint)

    def processor(self, checkpoint: Path | None = None) -> Any:
        """The processor of a checkpoint, or of the parts."""
        if checkpoint is None and not self._is_written():
            return self.judge_parts.processor()
        return super().processor(checkpoint)

    def files_problem(self, checkpoint: Path | None = None) -> str | None:
        """Why the joined checkpoint cannot be read; before the parts are joined, why a part cannot."""
        if checkpoint is not None or self._is_written():
            return super().files_problem(checkpoint)
        return self.judge_parts.audio.problem() or self.judge_parts.text.problem()

    def load(
        self, device: torch.device, checkpoint: Path | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """As `Family.load`; joins the parts first where that has not been done."""
        if checkpoint is None:
            self.write_files()
        return super().load(device, checkpoint, *args, **kwargs)

    def write_files(self) -> bool:
        """Write the joined checkpoint, unless it is there.

        Processes that write at the same time write the same files; the first one's folder is kept.

        Returns:
            whether it was written.

        Raises:
            ModelError: the folder is another model's, or a part cannot be joined.
        """
        folder = Path(self.path)
        if self._is_written() and is_complete(folder):
            return False
        log.info(
            "Joining the encoder of %s and the language model of %s in %s; only the projector is new.",
            self.judge_parts.audio.source,
            self.judge_parts.text.source,
            folder,
        )
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.unfinished-", dir=folder.parent))
        try:
            self.judge_parts.write(unfinished)
            seal(unfinished)
            unfinished.chmod(0o755)
            if not self._is_written():
                os.replace(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return True

    def _is_written(self) -> bool:
        """Whether the folder holds the joined checkpoint, or a judge that a run trained in full and saved.

        Raises:
            ModelError: it holds something else.
        """
        folder = Path(self.path)
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return False
        recipe = folder / RECIPE
        if recipe.is_file():
            if json.loads(recipe.read_text()) == self.judge_parts.recipe:
                return True
        elif (folder / MANIFEST).is_file():
            return True
        raise ModelError(
            f"model.path={folder} holds other files than the judge of model.audio={self.judge_parts.audio.source} and "
            f"model.text={self.judge_parts.text.source}: give a new folder, leave model.path out, or use "
            "model=qwen2_audio for the judge in it."
        )


def _expanded(source: str) -> str:
    """A path without ``~``, absolute where it is a folder; a name on the hub as it is."""
    path = expand_home(source)
    return str(path.absolute()) if path.is_dir() or source.startswith(("~", ".", "/")) else source
