"""What was found, in sentences: for the top of the page. Every figure is one of metrics.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dramaeval.evaluation.report.tables import shown

#: Controls that take the sound away and leave all else: what a judge gains over them is what it hears.
DEAFENING = ("shuffled_audio", "silence", "transcript_only")


def summary(
    split: str,
    phases: Mapping[str, Mapping[str, Any]],
    gain: Mapping[str, Any] | None,
    titles: Mapping[str, str],
) -> list[str]:
    """The agreement with people, against zero-shot and the ceiling, and where it is good and bad."""
    phase, found = list(phases.items())[-1]
    macro = found["macro"]
    told = [_agreement(split, phase, macro)]
    if gain is not None:
        told.append(_change(gain["macro"]["pearson"]))
    told += _ceiling(macro)
    told += _best_and_worst(found["dimensions"], titles)
    told += _lean(macro)
    return told


def _agreement(split: str, phase: str, macro: Mapping[str, Any]) -> str:
    which = "as it is" if phase == "zero_shot" else "after training"
    value, bounds = macro["pearson"], macro["interval"].get("pearson")
    if value is None:
        return f"On {split}, the judge {which} has no correlation with people: it is not defined."
    text = (
        f"On {split}, the judge {which} correlates {_value(value, bounds)} with people's mean ratings "
        "(Pearson, mean over "
    )
    text += f"{macro['dimensions_defined']['pearson']} of {macro['dimensions']} dimensions)"
    if bounds is not None and bounds[0] <= 0 <= bounds[1]:
        text += ". The interval holds zero: agreement is not shown"
    return text + "."


def _change(gain: Mapping[str, Any] | None) -> str:
    if gain is None:
        return "Whether training changed that cannot be said: a correlation is not defined before or after."
    size = _value(gain["difference"], gain["interval"], sign=True)
    verdict = _verdict(gain["interval"])
    meaning = {
        "above": "training raised it",
        "below": "training lowered it",
        "open": "no change is shown",
        "unknown": "there are too few groups for an interval",
    }[verdict]
    p = "" if gain["p"] is None else f", permutation p = {_p(gain['p'])}"
    return f"Against zero-shot that is {size}{p}: {meaning}."


def _ceiling(macro: Mapping[str, Any]) -> list[str]:
    ceiling = macro.get("ceiling", {}).get("pearson")
    if ceiling is None:
        return []
    told = f"One rater correlates {shown(ceiling)} with the mean of the others. That is the human ceiling"
    bounds = macro["interval"].get("pearson")
    shows = bounds is not None and bounds[0] > 0
    if macro["pearson"] is not None and macro["pearson"] > 0 and ceiling > 0 and shows:
        told += f"; the judge reaches {macro['pearson'] / ceiling:.0%} of it"
    told += "."
    test = macro["alternative_annotator"]
    if test["dimensions_tested"]:
        told += (
            f" By the alternative annotator test it could stand in for a rater on "
            f"{test['dimensions_passed']} of {test['dimensions_tested']} dimensions."
        )
    return [told]


def _best_and_worst(
    dimensions: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]
) -> list[str]:
    known = {key: one["pearson"] for key, one in dimensions.items() if one["pearson"] is not None}
    if len(known) < 2:
        return []
    best, least = max(known, key=lambda key: known[key]), min(known, key=lambda key: known[key])
    if known[best] <= 0:
        return ["It agrees with people on no dimension: no correlation is above 0."]
    return [
        f"It agrees best on {titles.get(best, best)} ({shown(known[best])}) and least on "
        f"{titles.get(least, least)} ({shown(known[least])})."
    ]


def _lean(macro: Mapping[str, Any]) -> list[str]:
    """Whether it is kinder or harsher, and whether it uses the scale."""
    told = []
    bias, bounds = macro["bias"], macro["interval"].get("bias")
    if bias is not None and bounds is not None and _verdict(bounds) in ("above", "below"):
        kind = "kinder" if bias > 0 else "harsher"
        told.append(f"Its scores are {shown(abs(bias))} {kind} than people's on average.")
    ratio = macro["variance_ratio"]
    if ratio is not None and ratio < 0.5:
        share = shown(ratio) if ratio >= 0.005 else "less than 0.01"
        told.append(
            f"They vary little: {share} of the variance of people's means, so it stays near the middle."
        )
    return told


def hearing(controls: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Whether the judge hears, from its gains in correlation over the controls.

    It is said to hear where every control without the right sound that could be made is beaten by an interval
    above zero, and not shown to where any is not.
    """
    gains = {name: _pearson(one) for name, one in controls.items()}
    deaf = {name: gains[name] for name in DEAFENING if gains.get(name) is not None}
    told = []
    if not deaf:
        told.append(
            "Whether the judge hears was not tested: no control without sound could be made."
        )
    else:
        verdicts = {name: _verdict(gain["interval"]) for name, gain in deaf.items() if gain}
        lost = [name for name, verdict in verdicts.items() if verdict != "above"]
        if set(verdicts.values()) == {"unknown"}:
            told.append(
                "Whether the judge hears cannot be said: there are too few groups of records for intervals."
            )
        elif not lost:
            told.append(
                "The judge hears: taking the right sound away costs it agreement every time."
            )
        elif len(lost) == len(verdicts):
            told.append(
                "It is not shown that the judge hears: that it agrees with people less without the right sound "
                "cannot be told from chance."
            )
        else:
            without = _listed([name.replace("_", " ") for name in lost])
            told.append(f"It is not clear that the judge hears: it does not beat {without}.")
    told += [
        _gain(name, controls[name], gain) for name, gain in gains.items() if name != "phrasing"
    ]
    if spread := controls.get("phrasing", {}).get("spread"):
        told.append(_phrasing(spread))
    elif "phrasing" in controls:
        told.append(f"Phrasing: {controls['phrasing']['reason']}.")
    return told


def _pearson(control: Mapping[str, Any]) -> Mapping[str, Any] | None:
    gain = control.get("gain")
    return None if gain is None else gain["macro"]["pearson"]


def _gain(name: str, control: Mapping[str, Any], gain: Mapping[str, Any] | None) -> str:
    title = name.replace("_", " ").capitalize()
    if control.get("reason"):
        return f"{title}: not available, {control['reason']}."
    error = control["gain"]["macro"]["mse"]
    told = f"{title} ({control['what']}): "
    if gain is None:
        told += "it has no correlation, being constant"
    else:
        told += f"gain in correlation {_value(gain['difference'], gain['interval'], sign=True)}"
    if error is not None:
        told += f", in squared error {_value(error['difference'], error['interval'], sign=True)}"
    return told + "."


def _phrasing(spread: Mapping[str, Any]) -> str:
    known = [
        one["mean_deviation"]
        for one in spread["dimensions"].values()
        if one["mean_deviation"] is not None
    ]
    if not known:
        return "Phrasing: no record was scored under every wording."
    return (
        f"Phrasing: over {spread['phrasings']} wordings of a question its score moves by "
        f"{shown(sum(known) / len(known))} (standard deviation, mean over dimensions)."
    )


def _verdict(bounds: Sequence[float] | None) -> str:
    if bounds is None:
        return "unknown"
    return "above" if bounds[0] > 0 else "below" if bounds[1] < 0 else "open"


def _value(value: float, bounds: Sequence[float] | None, *, sign: bool = False) -> str:
    text = shown(value, sign=sign)
    if bounds is None:
        return text
    return f"{text} [{shown(bounds[0], sign=sign)}, {shown(bounds[1], sign=sign)}]"


def _p(p: float) -> str:
    return "0.0005 or less" if p <= 0.0005 else f"{p:.2g}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
