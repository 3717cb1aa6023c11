"""Measures how long a judge takes to generate text, on this machine and before its weights are loaded.

Most of the time is spent in equal layers. So the first layers are timed with weights of one value, and the time of the
others follows from theirs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dramaeval.models.families.base import Family
from dramaeval.models.forward.generation import CachedGeneration
from dramaeval.models.forward.judge_model import unwrap_judge
from dramaeval.models.inputs.batch import EncodedRecord, LabelledQuestion
from dramaeval.models.inputs.question_encoder import AnswerTokens, EncodedQuestion

#: The numbers of layers that are timed; a further layer takes as long as the mean of those after the first.
_FEW, _MORE = 1, 3
#: The largest number of tokens of the timed prompt; longer prompts take proportionally longer.
_PROMPT = 256
#: The seconds for which each of the four times is measured, at least.
_LEAST = 0.2


@dataclass(frozen=True, kw_only=True)
class GenerationTime:
    """The seconds of the two parts of a generation.

    Attributes:
        prompt: the time to compute one prompt, without its clips.
        step: the time of one forward pass, which extends all texts of a group by one token.
    """

    prompt: float
    step: float


def measure_generation(
    skeleton: Any,
    family: Family,
    device: torch.device,
    dtype: torch.dtype,
    *,
    prompt_tokens: int,
    texts: int,
) -> GenerationTime:
    """Time the generation of a group of texts that continue one prompt.

    The embeddings, up to three layers and the head of the language model are in memory meanwhile.

    Args:
        skeleton: the judge without weights (`Family.skeleton`), for which `generation.supports_cache` is true; it is not
            changed.
        family: its family.
        device, dtype: the device and the data type of the weights.
        prompt_tokens: the number of tokens of the prompt.
        texts: the number of texts in a group.
    """
    _, layers = _layers(unwrap_judge(skeleton).decoder)
    length = max(1, min(prompt_tokens, _PROMPT))

    def times(count: int) -> list[float]:
        judge = _with_layers(skeleton, family, count, device, dtype)
        return _times(judge, device, length, texts)

    whole = few = times(_FEW)
    if layers > _FEW:
        timed = min(layers, _MORE)
        further = (layers - timed) / (timed - _FEW)
        whole = [
            more + max(0.0, more - one) * further
            for one, more in zip(few, times(timed), strict=True)
        ]
    prompt, step = whole
    return GenerationTime(prompt=prompt * prompt_tokens / length, step=step)


def _layers(decoder: Any) -> tuple[str, int]:
    """The name of the list of a language model's layers, and their number."""
    lists = {
        name: len(child)
        for name, child in decoder.named_children()
        if isinstance(child, nn.ModuleList)
    }
    name = max(lists, key=lambda name: lists[name])
    return name, lists[name]


def _with_layers(
    skeleton: Any, family: Family, layers: int, device: torch.device, dtype: torch.dtype
) -> Any:
    """A judge with the first layers and weights of one value; its audio tower has no weights."""
    judge = unwrap_judge(copy.deepcopy(skeleton)).eval()
    name, _ = _layers(judge.decoder)
    setattr(judge.decoder, name, getattr(judge.decoder, name)[:layers])
    tower = f"{family.parts['audio']}." if "audio" in family.parts else None
    for path, module in judge.named_modules():
        if tower and f"{path}.".startswith(tower):
            continue
        for key, weight in module.named_parameters(recurse=False):
            # Memory that was never written would be one page, which is faster to read than weights.
            written = torch.full(weight.shape, 0.02, dtype=dtype, device=device)
            setattr(module, key, nn.Parameter(written, requires_grad=False))
        for key, buffer in module.named_buffers(recurse=False):
            setattr(module, key, buffer.to(device))
    judge.tie_weights()
    # Gemma finds the id of a token by its embedding, so the one that is used must be unique.
    judge.get_input_embeddings().weight.data[0] *= 2
    return judge


def _times(judge: Any, device: torch.device, length: int, texts: int) -> list[float]:
    """The time of a prompt of this length, and the time of one further token of each text, in seconds."""
    answer = AnswerTokens(scale=(0,), scores=(0,))
    question = LabelledQuestion(EncodedQuestion((0,) * length, answer))
    record = EncodedRecord((), (question,))

    def start() -> CachedGeneration:
        return CachedGeneration(judge, [record], 0, device, texts)

    with torch.inference_mode():
        generation = start()
        return [_seconds(start), _seconds(lambda: generation.feed((0,) * texts))]


def _seconds(work: Callable[[], object]) -> float:
    from torch.utils.benchmark import Timer  # 0.15 s, which only a plan with thoughts needs

    timer = Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads())
    return float(timer.blocked_autorange(min_run_time=_LEAST).median)
