"""The parts of a leaderboard's page besides the ranking: its date, the judge, the dimensions, and examples."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dramaeval.config.task_schema import evidence_splits, held_out_splits
from dramaeval.data.records import Record
from dramaeval.evaluation.report.markup import shortened
from dramaeval.evaluation.report.tables import shown

#: Maximum number of systems with a clip in an example, and of characters of a text.
MOST_SYSTEMS, MOST_TEXT = 8, 400


@dataclass(frozen=True)
class ExampleClip:
    """A clip of an example: its system, score and id, and a data URI if it has a player."""

    system: str
    score: str
    id: str
    sound: str | None = None


@dataclass(frozen=True)
class Example:
    """A prompt with the clips of the systems, from the highest to the lowest score."""

    heading: str
    texts: Sequence[tuple[str, str]]
    clips: Sequence[ExampleClip]


@dataclass(frozen=True, kw_only=True)
class AboutBoard:
    """The parts of a page besides the ranking.

    Attributes:
        date: date of the ranking.
        agreement: how well the judge agrees with people on held-out clips, as a sentence.
        report: address of the judge's report, relative to the page; None if there is none.
        dimensions: title and description of each dimension.
        examples: the best and the worst prompts.
    """

    date: str
    agreement: str
    report: str | None
    dimensions: Sequence[Mapping[str, str]]
    examples: Sequence[Example] = ()

    def with_sounds(self, sounds: Mapping[str, str]) -> AboutBoard:
        """Add players to the examples, from data URIs by the id of a clip."""
        examples = [
            replace(example, clips=[replace(c, sound=sounds.get(c.id)) for c in example.clips])
            for example in self.examples
        ]
        return replace(self, examples=examples)

    def lines(self) -> list[str]:
        """The sentences for the Markdown file and the log."""
        return [f"Made on {self.date}.", self.agreement]


def agreement_of(metrics: Mapping[str, Any]) -> str:
    """Describe a judge's agreement with people, from the ``metrics.json`` of its run, in a sentence."""
    if ratings := _by_split(metrics, "pearson", shown):
        return (
            "The scores are a judge's, not people's. On held-out clips its expected scores correlate with people's mean "
            f"ratings, over all dimensions, with {ratings} (Pearson)."
        )
    if pairs := _by_split(metrics.get("pairs") or {}, "accuracy_untied", "{:.0%}".format):
        return (
            "The comparisons are a judge's, not people's. Of the held-out pairs with a preference of the raters, it "
            f"prefers the raters' clip in {pairs}."
        )
    return (
        "How well this judge agrees with people is not known here: the folder of checkpoint=… has no figures of an "
        "evaluation on held-out ratings."
    )


def _by_split(metrics: Mapping[str, Any], figure: str, written: Callable[[float], str]) -> str:
    """Write a macro figure of the last phase for each held-out split, with its interval; empty where it is undefined."""
    parts = []
    for split in evidence_splits({name: metrics[name] for name in held_out_splits(metrics)}):
        phases = metrics[split]
        macro = phases[list(phases)[-1]]["macro"]
        value, interval = macro.get(figure), (macro.get("interval") or {}).get(figure)
        if value is None:
            continue
        bounds = f" (interval {written(interval[0])} to {written(interval[1])})" if interval else ""
        parts.append(f"{written(value)}{bounds} on {split}")
    return "; ".join(parts)


def link_to(report: Path, page: Path) -> str | None:
    """The address of a report relative to a page's folder; None if there is no such file."""
    if not report.is_file():
        return None
    return quote(Path(os.path.relpath(report, page)).as_posix())


def examples_of(
    scores: Mapping[str, Mapping[str, float]],
    prompt_of: Mapping[str, str],
    records: Sequence[Record],
    texts: Sequence[str],
    *,
    most: int,
) -> list[Example]:
    """Make examples of the best and the worst prompts, without players.

    Args:
        scores: the score of each system by prompt; the prompts are ordered from best to worst.
        prompt_of: the prompt of each record, by id.
        records: the scored clips.
        texts: keys of the texts that an example shows.
        most: maximum number of best prompts, and of worst prompts.
    """
    prompts = list(scores)
    best = prompts[:most]
    worst = [prompt for prompt in reversed(prompts[-most:]) if prompt not in best] if most else []
    by_prompt: dict[str, dict[str, Record]] = {}
    for record in records:
        if record.system:
            by_prompt.setdefault(prompt_of[record.id], {}).setdefault(record.system, record)
    return [
        _example(f"{kind} {number}", prompt, scores[prompt], by_prompt[prompt], texts)
        for kind, chosen in (("Best", best), ("Worst", worst))
        for number, prompt in enumerate(chosen, 1)
    ]


def _example(
    kind: str,
    prompt: str,
    scores: Mapping[str, float],
    clips: Mapping[str, Record],
    texts: Sequence[str],
) -> Example:
    mean = sum(scores.values()) / len(scores)
    ordered = sorted(scores, key=lambda system: (-scores[system], system))[:MOST_SYSTEMS]
    first = next(iter(clips.values()))
    shown_texts = [(key, shortened(text, MOST_TEXT)) for key in texts if (text := first.text(key))]
    label = "" if shown_texts else f": {shortened(prompt, 80)}"
    return Example(
        f"{kind}, mean {shown(mean)}{label}",
        shown_texts,
        [ExampleClip(system, shown(scores[system]), clips[system].id) for system in ordered],
    )
