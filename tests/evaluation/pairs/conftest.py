"""Fixtures that build pair predictions and their arrays."""

import numpy as np
import pytest

from dramaeval.evaluation.pair_predictions import PairPrediction
from dramaeval.evaluation.pairs.pair_arrays import pair_arrays, pair_clusters


def pair(name, outcomes, votes, **more):
    """A prediction with the given probabilities of a, tie, b."""
    p_a, p_tie, p_b = outcomes
    values = {
        "id": name,
        "dimension": "overall",
        "p_a": p_a,
        "p_tie": p_tie,
        "p_b": p_b,
        "votes": tuple(votes),
        "clip_a": f"{name}a.wav",
        "clip_b": f"{name}b.wav",
    }
    return PairPrediction(**{**values, **more})


@pytest.fixture
def make_pair():
    return pair


@pytest.fixture
def arrays_of():
    def make(predictions):
        return pair_arrays(predictions, pair_clusters(predictions))

    return make


@pytest.fixture
def exchanged():
    """A function that returns the same pairs, with clips a and b exchanged in those that ``which`` selects."""

    def exchange(predictions, which):
        return [_exchanged(p) if flip else p for p, flip in zip(predictions, which, strict=True)]

    return exchange


def _exchanged(p):
    mirrored = {
        name: order[::-1]
        for name, order in (("order_ab", p.order_ba), ("order_ba", p.order_ab))
        if order
    }
    return PairPrediction(
        id=p.id,
        dimension=p.dimension,
        p_a=p.p_b,
        p_tie=p.p_tie,
        p_b=p.p_a,
        votes=tuple(None if vote is None else -vote for vote in p.votes),
        raters=p.raters,
        prompt=p.prompt,
        system_a=p.system_b,
        system_b=p.system_a,
        margin=None if p.margin is None else -p.margin,
        language=p.language,
        clip_a=p.clip_b,
        clip_b=p.clip_a,
        **mirrored,
    )


@pytest.fixture
def random_pairs():
    """A function that builds random pairs of the three clips of each prompt, with both orders and up to four votes."""

    def make(seed, prompts=12, votes=4):
        generator = np.random.default_rng(seed)
        pairs = []
        for prompt in range(prompts):
            quality = generator.normal(size=3)
            for a, b in ((0, 1), (0, 2), (1, 2)):
                difference = quality[a] - quality[b]
                orders = generator.dirichlet(
                    [1 + max(difference, 0), 0.7, 1 + max(-difference, 0)], size=2
                )
                outcomes = orders.mean(axis=0)
                drawn = np.clip(np.rint(2 * (difference + generator.normal(size=votes))), -2, 2) / 2
                given = [None if generator.random() < 0.2 else float(vote) for vote in drawn]
                pairs.append(
                    pair(
                        f"{prompt}-{a}{b}", outcomes, given, prompt=f"prompt {prompt}",
                        margin=float(np.round(2 * (difference + generator.normal() / 3)) / 2),
                        language="en" if prompt % 2 else "de",
                        order_ab=tuple(orders[0]), order_ba=tuple(orders[1]),
                        system_a=f"s{a}", system_b=f"s{b}",
                        clip_a=f"{prompt}-{a}.wav", clip_b=f"{prompt}-{b}.wav",
                    )
                )  # fmt: skip
        return pairs

    return make
