"""Summarises a run in sentences for the top of its page; all numbers are in metrics.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from dramaeval.evaluation.controls import control_named
from dramaeval.evaluation.predictions import PHASES
from dramaeval.evaluation.report.tables import shown, with_interval
from dramaeval.evaluation.units import unit_text


def summary(
    split: str,
    phases: Mapping[str, Mapping[str, Any]],
    gain: Mapping[str, Any] | None,
    titles: Mapping[str, str],
) -> list[str]:
    """Describe the agreement with people, its change in training, the human ceiling, and the best and worst dimension."""
    phase, values = list(phases.items())[-1]
    macro = values["macro"]
    return [
        _agreement(split, phase, macro),
        *([] if gain is None else [_change(gain["macro"]["pearson"])]),
        *_ceiling(macro),
        *_best_and_worst(values["dimensions"], titles),
        *_bias_and_variance(macro),
    ]


def drops_of(
    metrics: Mapping[str, Any], split: str, phase: str
) -> list[tuple[str, str, Mapping[str, Any]]]:
    """The drops that concern a test set, as arguments of `drop_text`; all drops concern the first test set."""
    return [
        (other, phase, by_phase[phase])
        for other, by_phase in (metrics.get("drop") or {}).items()
        if split in (other, by_phase[phase]["from"])
    ]


def drop_text(split: str, phase: str, figure: Mapping[str, Any]) -> str:
    """Describe the drop in macro Pearson on one test set in a sentence.

    Args:
        split: name of the test set.
        phase: phase of the judge.
        figure: the entry of `dramaeval.evaluation.drop.drops` for this test set.
    """
    entry, head = figure["macro"]["pearson"], f"{split} against {figure['from']}, {PHASES[phase]}"
    if entry is None:
        return (
            f"{head}: the difference is undefined, because no dimension has a correlation on both."
        )
    meaning = {
        "above": "agreement is higher",
        "below": "agreement is lower",
        "open": "no difference is shown",
        "unknown": "there are too few groups for an interval",
    }[position(entry["interval"])]
    change = _value(entry["difference"], entry["interval"], sign=True)
    return f"{head}: macro Pearson {change}; {meaning}."


def _agreement(split: str, phase: str, macro: Mapping[str, Any]) -> str:
    which = "before training" if phase == "zero_shot" else "after training"
    value, bounds = macro["pearson"], macro["interval"].get("pearson")
    if value is None:
        return f"On {split}, the judge {which} has no correlation with people: it is undefined."
    text = (
        f"On {split}, the judge {which} correlates {_value(value, bounds)} with people's mean ratings "
        f"(Pearson, mean over {macro['dimensions_defined']['pearson']} of {macro['dimensions']} dimensions)"
    )
    if bounds is not None and bounds[0] <= 0 <= bounds[1]:
        text += ". The interval includes zero: agreement is not shown"
    return text + "."


def _change(gain: Mapping[str, Any] | None) -> str:
    if gain is None:
        return "The change in training is unknown: the correlation before or after it is undefined."
    meaning = {
        "above": "training raised the agreement",
        "below": "training lowered the agreement",
        "open": "no change is shown",
        "unknown": "there are too few groups for an interval",
    }[position(gain["interval"])]
    p = "" if gain["p"] is None else f", permutation p = {_p(gain['p'])}"
    change = _value(gain["difference"], gain["interval"], sign=True)
    return f"The change from zero-shot is {change}{p}: {meaning}."


def _ceiling(macro: Mapping[str, Any]) -> list[str]:
    ceiling = macro["ceiling"]["pearson"]
    if ceiling is None:
        return []
    text = f"The human ceiling is {shown(ceiling)}: the correlation of one rater with the mean of the others"
    bounds = macro["interval"].get("pearson")
    if ceiling > 0 and macro["pearson"] is not None and bounds is not None and bounds[0] > 0:
        text += f"; the judge reaches {macro['pearson'] / ceiling:.0%} of it"
    text += "."
    test = macro["alternative_annotator"]
    if test["dimensions_tested"]:
        text += (
            f" By the alternative annotator test the judge could replace a rater on "
            f"{test['dimensions_passed']} of {test['dimensions_tested']} dimensions."
        )
    return [text]


def _best_and_worst(
    dimensions: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]
) -> list[str]:
    pearson = {key: values["pearson"] for key, values in dimensions.items()}
    defined = [key for key, value in pearson.items() if value is not None]
    if len(defined) < 2:
        return []
    best, worst = max(defined, key=pearson.__getitem__), min(defined, key=pearson.__getitem__)
    if pearson[best] <= 0:
        return ["The judge agrees with people on no dimension: no correlation is above 0."]
    return [
        f"It agrees best on {titles.get(best, best)} ({shown(pearson[best])}) and least on "
        f"{titles.get(worst, worst)} ({shown(pearson[worst])})."
    ]


def _bias_and_variance(macro: Mapping[str, Any]) -> list[str]:
    sentences = []
    bias, bounds = macro["bias"], macro["interval"].get("bias")
    if bias is not None and position(bounds) in ("above", "below"):
        direction = "above" if bias > 0 else "below"
        size = shown(abs(bias)) + unit_text(macro)
        sentences.append(f"Its scores are on average {size} {direction} people's.")
    ratio = macro["variance_ratio"]
    if ratio is not None and ratio < 0.5:
        share = shown(ratio) if ratio >= 0.005 else "less than 0.01"
        sentences.append(
            f"Its scores vary little: their variance is {share} of that of people's means, so the judge stays "
            "near the middle of the scale."
        )
    return sentences


def audio_use(controls: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """State whether the judge uses the audio, and its gain over each control.

    The judge uses the audio if its gain in correlation over every available control that removes the right sound
    has an interval above zero. Otherwise the use is not shown.
    """
    gains = {
        name: control["gain"]["macro"]["pearson"] if control.get("gain") else None
        for name, control in controls.items()
    }
    known = {name: control_named(name) for name in controls}
    verdicts = {
        name: position(gain["interval"])
        for name, gain in gains.items()
        if gain is not None and known[name].removes_sound
    }
    sentences = [_use_of_audio(verdicts)]
    sentences += [
        _gain(name, controls[name], gain)
        for name, gain in gains.items()
        if known[name].further_results is None
    ]
    if spread := controls.get("phrasing", {}).get("spread"):
        sentences.append(_phrasing(spread))
    elif "phrasing" in controls:
        sentences.append(f"Phrasing: {controls['phrasing']['reason']}.")
    return sentences + [
        _largest_change(name, control)
        for name, control in controls.items()
        if known[name].further_results == "changes"
    ]


def _use_of_audio(verdicts: Mapping[str, str]) -> str:
    if not verdicts:
        return "Whether the judge uses the audio was not tested: no control without sound is available."
    if set(verdicts.values()) == {"unknown"}:
        return "Whether the judge uses the audio is unknown: there are too few groups of records for intervals."
    not_beaten = [name.replace("_", " ") for name in verdicts if verdicts[name] != "above"]
    if not not_beaten:
        return "The judge uses the audio: every control without the right sound agrees less with people."
    if len(not_beaten) == len(verdicts):
        return "It is not shown that the judge uses the audio: its gain over the controls without the right sound may be chance."
    return f"It is not clear that the judge uses the audio: it does not beat {_listed(not_beaten)}."


def _gain(name: str, control: Mapping[str, Any], gain: Mapping[str, Any] | None) -> str:
    title = name.replace("_", " ").capitalize()
    if control.get("reason"):
        return f"{title}: not available, {control['reason']}."
    error = control["gain"]["macro"]["mse"]
    text = f"{title} ({control['what']}): "
    if gain is None:
        # Without a score there is no error either.
        reason = "no clip is scored by both" if error is None else "it is constant"
        text += f"no correlation, because {reason}"
    else:
        text += f"gain in correlation {_value(gain['difference'], gain['interval'], sign=True)}"
    if error is not None:
        difference = _value(error["difference"], error["interval"], sign=True)
        text += f", difference in squared error {difference}"
    return text + "."


def _phrasing(spread: Mapping[str, Any]) -> str:
    deviations = [values["mean_deviation"] for values in spread["dimensions"].values()]
    defined = [deviation for deviation in deviations if deviation is not None]
    if not defined:
        return "Phrasing: no record was scored under every wording."
    return (
        f"Phrasing: over {spread['phrasings']} wordings of a question a score varies by "
        f"{shown(sum(defined) / len(defined))} (standard deviation, mean over dimensions)."
    )


def _largest_change(name: str, control: Mapping[str, Any]) -> str:
    """Name the change with the largest mean shift of scores, and the change with the lowest rank correlation."""
    title = name.replace("_", " ").capitalize()
    if not (measured := control.get("changes")):
        return f"{title}: {control['reason']}."
    changes = [
        {**values, "change": change}
        for change, by_dimension in measured["by_change"].items()
        for values in by_dimension.values()
        if values["n"] and not values["expected"]
    ]
    if not changes:
        return f"{title}: no record was scored under a change."
    most = max(changes, key=lambda change: abs(change["shift"]))
    moved = _value(most["shift"], most["interval"], sign=True)
    text = f"{title}: the largest mean shift of a dimension's scores is {moved} ({most['change']})"
    if ordered := [change for change in changes if change["rank_correlation"] is not None]:
        least = min(ordered, key=itemgetter("rank_correlation"))
        text += (
            f", the lowest rank correlation {shown(least['rank_correlation'])} ({least['change']})"
        )
    return text + "."


def position(bounds: Sequence[float] | None) -> str:
    """The position of an interval relative to zero: "above", "below", "open" (it includes zero), or "unknown" for None."""
    if bounds is None:
        return "unknown"
    return "above" if bounds[0] > 0 else "below" if bounds[1] < 0 else "open"


def _value(value: float, bounds: Sequence[float] | None, *, sign: bool = False) -> str:
    return with_interval(value, bounds, sign=sign).plain


def _p(p: float) -> str:
    return "0.0005 or less" if p <= 0.0005 else f"{p:.2g}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
