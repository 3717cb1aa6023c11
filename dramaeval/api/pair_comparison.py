"""`Comparison`: the result of `Judge.compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dramaeval.api.clip_input import require_usable_prompts
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
        p_tie: probability that neither clip is better.
        p_b: probability that the second clip is better; the three probabilities sum to 1.
        margin: expected score of the first clip minus expected score of the second; None if both are in one prompt.
        order_ab: ``(p_a, p_tie, p_b)`` with the first clip presented first; None if the clips are scored separately.
        order_ba: ``(p_a, p_tie, p_b)`` with the second clip presented first.
    """

    p_a: float
    p_tie: float
    p_b: float
    margin: float | None = None
    order_ab: Outcomes | None = None
    order_ba: Outcomes | None = None


def comparison_of_scores(a: Any, b: Any, slope: float, tie_weight: float) -> Comparison:
    """The comparison of two clips from their `Score` on one dimension; see `dramaeval.models.forward.pair_outcomes`.

    Raises:
        ValueError: one of the clips has no score.
    """
    for score_of_clip in (a, b):
        if score_of_clip.expected is None:
            raise ValueError(f"A clip has no score: {score_of_clip.state}.")
    margin = a.expected - b.expected
    p_b, p_tie, p_a = outcome_probabilities(margin, slope, tie_weight)
    return Comparison(p_a=p_a, p_tie=p_tie, p_b=p_b, margin=margin)


def direct_comparisons(
    model: Any,
    encoder: WaveformEncoder,
    task: PairTask,
    clips: tuple[Clip, Clip],
    texts: Mapping[str, Any],
    *,
    reference: Clip | None,
    turns: Sequence[Mapping[str, Any]],
    shared_prefix: bool,
) -> dict[str, Comparison]:
    """Compare two clips in one prompt, in both orders; returns the comparisons by dimension key.

    Raises:
        ValueError: a text contains markup of the model, the prompt is too long, or a clip cannot be used.
    """
    a, seconds_a = encoder.add_clip("audio_a", clips[0], number=0)
    b, seconds_b = encoder.add_clip("audio_b", clips[1], number=1)
    reference_path, reference_seconds = encoder.add_reference("reference", reference)
    record = Record(
        id="0", file=Path("Judge.compare"), line=0, clip=a, seconds=seconds_a, clip_b=b, seconds_b=seconds_b,
        fields=texts, ratings={}, reference=reference_path, reference_seconds=reference_seconds,
        turns=encoder.turns("turns", turns),
    )  # fmt: skip
    require_usable_prompts(encoder, [record], model)
    predictions = score(model, [record], encoder, shared_prefix=shared_prefix)
    kept = [field.name for field in fields(Comparison)]
    return {
        prediction.dimension: Comparison(**{name: getattr(prediction, name) for name in kept})
        for prediction in predictions
        if isinstance(prediction, PairPrediction)
    }
