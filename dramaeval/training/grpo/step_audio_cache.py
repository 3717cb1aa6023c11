"""A cache of the embeddings of a step's clips, so that its forward passes compute them once.

A step of GRPO passes over its prompts three times: for generation, for the reference and for the policy. If neither the
audio tower nor the projector is trained, their outputs are the same in all three passes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from operator import itemgetter
from typing import Any

import torch
from accelerate.utils import send_to_device

from dramaeval.compat.deepspeed import is_partitioned
from dramaeval.data.logmel import ClipFeatures, EncodedClip
from dramaeval.models.forward.judge_model import unwrap_judge
from dramaeval.models.inputs.collation import clip_inputs, clip_numbers
from dramaeval.training.grpo.prompt_groups import PromptGroup

Clip = ClipFeatures | EncodedClip

_SIZE = 256


class StepAudioCache:
    """Caches the output of `JudgeModel.embed_clips` for the clips that were used last.

    Args:
        trainer: a `dramaeval.training.grpo.trainer.JudgeGRPOTrainer`.
    """

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.judge = unwrap_judge(trainer.model)
        # The entry keeps the clip alive, so that no other clip gets the same id.
        self._cached: OrderedDict[int, tuple[Clip, torch.Tensor]] = OrderedDict()

    @cached_property
    def enabled(self) -> bool:
        """Whether the embeddings of a clip do not change during the training and are shared by its completions.

        The cache is off with ZeRO-3, where every process has to run every part of the model in every pass. Access this
        property only after ZeRO-3 has split the weights.
        """
        model, family = self.trainer.model, self.trainer.record_encoder.family
        shared_prefix = self.trainer.batch_settings["shared_prefix"]
        if not family.takes_audio or not shared_prefix or is_partitioned(model):
            return False
        audio = [path for part, path in family.parts.items() if part != "llm"]
        trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
        return not any(path in name for name in trained for path in audio)

    @contextmanager
    def used(self, groups: Sequence[PromptGroup]) -> Iterator[None]:
        """Let the judge take the embeddings of the clips of these groups from the cache in this block."""
        if not self.enabled:
            yield
            return
        clips = [clip for group in groups for clip in group.encoded_record.clips]
        numbered = zip(clip_numbers(clips), self._embeddings(clips), strict=True)
        embeddings = [embedding for _, embedding in sorted(numbered, key=itemgetter(0))]
        self.judge.embed_clips = lambda *_, **__: embeddings
        try:
            yield
        finally:
            del self.judge.embed_clips  # restores the method of the class

    def _embeddings(self, clips: Sequence[Clip]) -> list[torch.Tensor]:
        """The embeddings of each clip, ``[audio tokens, hidden]``."""
        new = {id(clip): clip for clip in clips if id(clip) not in self._cached}
        if new:
            accelerator = self.trainer.accelerator
            inputs, numbers = clip_inputs(list(new.values()))
            # Inference mode is off, because the backward passes of the step need these values.
            with torch.no_grad(), torch.inference_mode(False), accelerator.autocast():
                embeddings = self.judge.embed_clips(**send_to_device(inputs, accelerator.device))
            for key, number in zip(new, numbers, strict=True):
                self._cached[key] = (new[key], embeddings[number].clone())
        for clip in clips:
            self._cached.move_to_end(id(clip))
        embedded = [self._cached[id(clip)][1] for clip in clips]
        while len(self._cached) > _SIZE:
            self._cached.popitem(last=False)
        return embedded
