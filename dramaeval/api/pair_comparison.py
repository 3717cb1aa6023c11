"""`Comparison`: the result of `Judge.compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from dramaeval.api.clip_input import require_plain_texts
from dramaeval.api.waveform_encoder import Clip, WaveformEncoder
from dramaeval.data.records import Record
from dramaeval.evaluation.pair_predictions import Outcomes, PairPrediction
from dramaeval.evaluation.scoring import score
from dramaeval.models.forward.pair_outcomes import outcome_probabilities
from dramaeval.tasks.pair import PairTask


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The comparison of two clips on one dimension.

    Attributes:
        p_a: probability that the first clip is better.
        p_tie: probability that neither is.
        p_b: probability that the second clip is better; the three sum to 1.
        margin: expected score of the first clip minus that of the second, where each clip is scored by itself.
        order_ab: the three probabilities with the first clip presented first, where both are in one prompt.
        order_ba: the same with the second clip presented first; its first value belongs to the first clip as well.
    """

    p_a: float
    p_tie: float
    p_b: float
    margin: float | None = None
    order_ab: Outcomes | None = None
    order_ba: Outcomes | None = None


def comparison_of_scores(a: Any, b: Any, slope: float, tie_weight: float) -> Comparison:
    """The comparison of two clips from their scores on one dimension.

    Args:
        a: the first clip's `dramaeval.api.judge.Score`.
        b: that of the second.
        slope: see `dramaeval.models.forward.pair_outcomes`.
        tie_weight: see there.

    Raises:
        ValueError: one of the clips has no score.
    """
    for each in (a, b):
        if each.expected is None:
            raise ValueError(f"A clip has no score: {each.state}.")
    margin = a.expected - b.expected
    p_b, p_tie, p_a = outcome_probabilities(margin, slope, tie_weight)
    return Comparison(p_a=p_a, p_tie=p_tie, p_b=p_b, margin=margin)


def direct_comparisons(
    model: Any,
    encoder: WaveformEncoder,
    task: PairTask,
    clips: tuple[Clip, Clip],
    texts: Mapping[str, Any],
    data: DictConfig,
    *,
    reference: Clip | None,
    turns: Sequence[Mapping[str, Any]],
    rate: int | None,
    shared_prefix: bool,
) -> dict[str, Comparison]:
    """Compare two clips in one prompt, in both orders; by dimension key.

    Raises:
        ValueError: a text holds markup of the model, or a clip cannot be used.
    """
    names = ("audio_a", "audio_b")
    (a, seconds_a), (b, seconds_b) = (
        encoder.add_clip(name, clip, data, number=number, rate=rate)
        for number, (name, clip) in enumerate(zip(names, clips, strict=True))
    )
    beside, beside_seconds = None, 0.0
    if reference is not None:
        beside, beside_seconds = encoder.add_clip("reference", reference, data, rate=rate)
    record = Record(
        id="0", file=Path("Judge.compare"), line=0, clip=a, seconds=seconds_a, clip_b=b, seconds_b=seconds_b,
        fields=texts, ratings={}, reference=beside, reference_seconds=beside_seconds,
        turns=encoder.turns("turns", turns, data, rate=rate),
    )  # fmt: skip
    require_plain_texts(encoder.text_check, task, [record])
    predictions = score(model, [record], encoder, shared_prefix=shared_prefix)
    kept = [field.name for field in fields(Comparison)]
    return {
        prediction.dimension: Comparison(**{name: getattr(prediction, name) for name in kept})
        for prediction in predictions
        if isinstance(prediction, PairPrediction)
    }
