"""Clips of a step as the language model hears them, computed once for all passes of the step.

A step of GRPO passes over its prompts three times: to write, for the reference and for the policy. Where
neither audio tower nor projector are trained, all three hear the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import torch

from dramaeval.data.logmel import ClipFeatures, EncodedClip
from dramaeval.evaluation.scoring import is_sharded
from dramaeval.models.inputs.audio_encodings import unwrap_judge
from dramaeval.models.inputs.collation import clip_inputs, clip_numbers
from dramaeval.training.grpo.groups import PromptGroup

if TYPE_CHECKING:
    from dramaeval.training.grpo.trainer import JudgeGRPOTrainer

_KEPT = 256


class StepAudioCache:
    """What `AnsweringModel.embed_clips` gave for the clips that were asked about last.

    Args:
        trainer: whose model hears. Nothing is kept where it trains what hears, where prefixes are not shared
            (then every completion has a clip of its own), or where ZeRO-3 splits the weights.
    """

    def __init__(self, trainer: JudgeGRPOTrainer) -> None:
        self.trainer = trainer
        self._keeps: bool | None = None
        self._kept: OrderedDict[int, tuple[ClipFeatures | EncodedClip, torch.Tensor]] = (
            OrderedDict()
        )

    @contextmanager
    def recalled(self, groups: Sequence[PromptGroup]) -> Iterator[None]:
        """Let the judge recall the groups' clips in here, in their order, where anything is kept."""
        if not self.keeps:
            yield
            return
        judge = unwrap_judge(self.trainer.accelerator.unwrap_model(self.trainer.model))
        clips = [clip for group in groups for clip in group.encoded_record.clips]
        embedded = self._hear(judge, clips)
        # In the order in which the judge numbers them.
        heard = [
            one
            for _, one in sorted(zip(clip_numbers(clips), embedded, strict=True), key=itemgetter(0))
        ]
        before = vars(judge).get("hear_clips")
        judge.embed_clips = lambda *_, **__: heard
        try:
            yield
        finally:
            del judge.embed_clips
            if before is not None:
                judge.embed_clips = before

    def _hear(self, judge: Any, clips: Sequence[ClipFeatures | EncodedClip]) -> list[torch.Tensor]:
        """Each clip as embeddings, ``[audio tokens, hidden]``."""
        new = {id(clip): clip for clip in clips if id(clip) not in self._kept}
        if new:
            inputs, numbers = clip_inputs(list(new.values()))
            device = self.trainer.accelerator.device
            # Not in inference mode: the gradient of what follows needs the values.
            with torch.no_grad(), torch.inference_mode(False), self.trainer.accelerator.autocast():
                found = judge.embed_clips(
                    **{key: _moved(one, device) for key, one in inputs.items()}
                )
            for key, number in zip(new, numbers, strict=True):
                # The clip itself is kept too, so that its id stays its own.
                self._kept[key] = (new[key], found[number].clone())
        for clip in clips:
            self._kept.move_to_end(id(clip))
        heard = [self._kept[id(clip)][1] for clip in clips]
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return heard

    @property
    def keeps(self) -> bool:
        """Whether what is heard stays the same."""
        if self._keeps is None:
            trainer = self.trainer
            family, model = trainer.record_encoder.family, trainer.model
            trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
            hearing = [place for part, place in family.parts.items() if part != "llm"]
            self._keeps = (
                family.takes_audio
                and bool(trainer.batch_settings["shared_prefix"])
                and not is_sharded(model)
                and not any(place in name for name in trained for place in hearing)
            )
        return self._keeps


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return [_moved(one, device) for one in value] if isinstance(value, list) else value
