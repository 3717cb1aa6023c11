"""Derives pairs from rated records of single clips: two clips of one prompt, by different systems.

Both clips of a pair are from one file, so that no pair mixes splits. The choice of pairs, and of the clip that is a,
depends only on the ids of the records and the seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations, islice
from typing import Any

from dramaeval.config.problems import near_match_hint
from dramaeval.data.annotation_fields import ANNOTATIONS
from dramaeval.data.pair_format import CLIP_A, CLIP_B, VOTES
from dramaeval.data.problems import BadRecordsError, Problem, counted
from dramaeval.data.raters import POSITIONAL, RATERS, UNKNOWN_RATERS, RaterInfo
from dramaeval.data.records import Record
from dramaeval.data.shared_content import group_of
from dramaeval.tasks.rubric import Dimension
from dramaeval.tasks.task import Task

Votes = tuple[tuple[float | None, ...], RaterInfo]


@dataclass(frozen=True, kw_only=True)
class PairRule:
    """The rule for pairs of rated records and for their votes.

    Attributes:
        prompt: key whose value the two clips share; None for the texts of the task's prompts.
        apart: key whose value differs between the two clips.
        margin: smallest difference of the mean ratings, in scores, with which a pair has votes on a dimension.
        tie: largest difference of a rater's two ratings, in scores, that is a tie.
        per_prompt: maximum number of pairs of a prompt; None takes all.
        seed: seed of the choice of pairs, and of the clip that is a.
    """

    prompt: str | None = None
    apart: str = "system"
    margin: float = 0.5
    tie: float = 0.0
    per_prompt: int | None = 10
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            f"task.derive.{key}={value} must be a number of 0 or more"
            for key, value in (("margin", self.margin), ("tie", self.tie))
            if type(value) not in (int, float) or not value >= 0
        ]
        count = self.per_prompt
        if count is not None and (type(count) is not int or count < 1):
            problems.append(f"task.derive.per_prompt={count} must be 1 or more, or null")
        if type(self.seed) is not int:
            problems.append(f"task.derive.seed={self.seed} must be a whole number")
        if not (isinstance(self.apart, str) and isinstance(self.prompt, str | None)):
            problems.append("task.derive.apart and task.derive.prompt must be keys of records")
        if problems:
            raise ValueError("; ".join(problems) + ".")

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> PairRule:
        """Make the rule from ``task.derive``.

        Raises:
            ValueError: a key is not known, or a value is not valid.
        """
        names = [field.name for field in fields(cls)]
        if unknown := [str(key) for key in settings if key not in names]:
            hint = near_match_hint(unknown[0], names)
            raise ValueError(
                f"task.derive.{unknown[0]} is not known; there are {', '.join(names)}.{hint}"
            )
        return cls(**settings)


def derive_pairs(
    records: Sequence[Record], task: Task, rule: PairRule, *, needs_votes: bool = True
) -> list[Record]:
    """Derive the pairs of the records of one file, prompt by prompt in the order of the file.

    Each rater who rated both clips votes for the clip with this rater's higher rating. If no rater is known to have
    rated both clips, there is one vote, by the mean ratings.

    Args:
        records: records of single clips, with ratings on the task's dimensions.
        task: gives the dimensions and the texts of a prompt.
        rule: the rule for pairs and votes.
        needs_votes: whether pairs without votes are left out. A ranking of systems keeps them, because ratings must not
            decide which clips are compared.

    Raises:
        BadRecordsError: no pair can be derived; the problem states why.
    """
    prompts: dict[str, list[Record]] = {}
    for record in records:
        if (prompt := _prompt(record, task, rule)) is not None:
            prompts.setdefault(prompt, []).append(record)
    pairs = [
        pair
        for same_prompt in prompts.values()
        for pair in _pairs_of(same_prompt, task.dimensions, rule, needs_votes)
    ]
    if not pairs:
        raise BadRecordsError([_why_none(records, prompts, rule)])
    return pairs


def _prompt(record: Record, task: Task, rule: PairRule) -> str | None:
    if rule.prompt is not None:
        return group_of(record, rule.prompt)
    texts = task.texts(record)
    return "\n".join(texts.values()) if texts else None


def _pairs_of(
    records: Sequence[Record], dimensions: Sequence[Dimension], rule: PairRule, needs_votes: bool
) -> Iterator[Record]:
    candidates = [
        (first, second)
        for first, second in combinations(records, 2)
        if _differ(first, second, rule.apart)
        and (first.reference, first.turns) == (second.reference, second.turns)
    ]
    if rule.per_prompt is not None:
        candidates.sort(key=lambda pair: _random(rule, *pair).random())
    pairs = (_pair(*candidate, dimensions, rule) for candidate in candidates)
    return islice((pair for pair in pairs if pair.ratings or not needs_votes), rule.per_prompt)


def _random(rule: PairRule, first: Record, second: Record, *use: str) -> random.Random:
    """A random generator for a pair, which does not depend on the order of the records."""
    return random.Random("\0".join([str(rule.seed), *sorted((first.id, second.id)), *use]))


def _differ(first: Record, second: Record, key: str) -> bool:
    values = group_of(first, key), group_of(second, key)
    return None not in values and values[0] != values[1]


def _votes(a: Record, b: Record, dimension: Dimension, rule: PairRule) -> Votes | None:
    """The votes on a dimension; None if a clip has no ratings, or the means differ by less than the margin."""
    name = dimension.annotation
    means = [sum(ratings) / len(ratings) for clip in (a, b) if (ratings := clip.given(name))]
    if len(means) < 2 or abs(means[0] - means[1]) < rule.margin - 1e-9:
        return None
    by_rater = [_by_rater(clip, name) for clip in (a, b)]
    raters = list(dict.fromkeys([*by_rater[0], *by_rater[1]]))
    ratings_a, ratings_b = by_rater
    votes = tuple(_vote(ratings_a.get(rater), ratings_b.get(rater), rule) for rater in raters)
    if all(vote is None for vote in votes):
        return (_vote(means[0], means[1], rule),), UNKNOWN_RATERS
    names = tuple(str(name) for kind, name in raters if kind == "id")
    if len(names) == len(raters):
        return votes, RaterInfo(ids=names)
    return votes, POSITIONAL if not names else UNKNOWN_RATERS


def _by_rater(record: Record, name: str) -> dict[tuple[str, str | int], float | None]:
    values, info = record.ratings.get(name, ()), record.raters.get(name, POSITIONAL)
    return dict(zip(info.keys(len(values)), values, strict=False))


def _vote(a: float | None, b: float | None, rule: PairRule) -> float | None:
    """The vote for the clip with the higher rating; None if a rating is missing."""
    if a is None or b is None:
        return None
    if abs(a - b) <= rule.tie:
        return 0.0
    return VOTES[-1] if a > b else VOTES[0]


def _pair(first: Record, second: Record, dimensions: Sequence[Dimension], rule: PairRule) -> Record:
    """The record of a pair, with the keys that have the same value in both records."""
    is_in_order = _random(rule, first, second, "order").random() < 0.5
    a, b = (first, second) if is_in_order else (second, first)
    votes = {
        dimension.annotation: dimension_votes
        for dimension in dimensions
        if (dimension_votes := _votes(a, b, dimension, rule)) is not None
    }
    excluded = {"id", "wav_path", ANNOTATIONS, RATERS, *votes}
    texts: dict[str, Any] = {
        key: value
        for key, value in a.fields.items()
        if key not in excluded and key in b.fields and b.fields[key] == value
    }
    name = f"{a.id} / {b.id}"
    texts |= {"id": name, CLIP_A: str(a.clip), CLIP_B: str(b.clip)}
    for key, record in (("system_a", a), ("system_b", b)):
        if record.system is not None:
            texts[key] = record.system
    texts[ANNOTATIONS] = {key: list(values) for key, (values, _) in votes.items()}
    return Record(
        id=name,
        file=a.file,
        line=a.line,
        clip=a.clip,
        seconds=a.seconds,
        fields=texts,
        ratings={key: values for key, (values, _) in votes.items()},
        raters={key: info for key, (_, info) in votes.items()},
        clip_b=b.clip,
        seconds_b=b.seconds,
        reference=a.reference,
        reference_seconds=a.reference_seconds,
        turns=a.turns,
    )


def _why_none(
    records: Sequence[Record], prompts: Mapping[str, Sequence[Record]], rule: PairRule
) -> Problem:
    key = "prompt" if rule.prompt is None else rule.prompt
    values = {group_of(record, rule.apart) for record in records} - {None}
    count = counted(len(records), "record")
    if all(len(same_prompt) < 2 for same_prompt in prompts.values()):
        problem, at = f"no two of the {count} have the same {key}", "task.derive.prompt"
        fix = f"give records of several clips for each {key}, or name another key with {at}"
    elif len(values) < 2:
        names = f"one {rule.apart} ({min(values)})" if values else f"no {rule.apart}"  # type: ignore[type-var]  # no None
        problem = f"the {count} have {names}"
        fix = "give records of two systems or more, or name another key with task.derive.apart"
    else:
        problem = (
            f"no two clips of one {key} and different {rule.apart} have mean ratings that differ by "
            f"{rule.margin:g} or more"
        )
        fix = "lower task.derive.margin, or give more records"
    return Problem(
        file=records[0].file, line=None, id=None, key=rule.apart, problem=problem, fix=fix
    )
