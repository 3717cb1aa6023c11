"""The sentences of the summary, whose conclusions follow from the intervals."""

import copy

import pytest

from dramaeval.evaluation.report.summary_text import audio_use, summary


def gain(difference, low, high, mse=0.0):
    entry = {"difference": difference, "interval": [low, high], "p": 0.01, "a": 0.5, "b": 0.3}
    return {
        "what": "a control",
        "reason": None,
        "gain": {"macro": {"pearson": entry, "mse": {**entry, "difference": mse}}, "records": 9},
    }


BEATEN, NOT_BEATEN = gain(0.3, 0.1, 0.5), gain(0.1, -0.1, 0.3)


def test_beating_every_control_without_sound_shows_use_of_the_audio():
    result = audio_use({"silence": BEATEN, "shuffled_audio": BEATEN, "transcript_only": BEATEN})
    assert result[0].startswith("The judge uses the audio")
    assert "gain in correlation +0.30 [+0.10, +0.50]" in result[1]


def test_audio_use_is_unclear_with_one_control_not_beaten():
    result = audio_use(
        {"silence": BEATEN, "shuffled_audio": NOT_BEATEN, "transcript_only": NOT_BEATEN}
    )
    assert result[0] == (
        "It is not clear that the judge uses the audio: it does not beat shuffled audio and transcript only."
    )
    assert audio_use({"silence": NOT_BEATEN})[0].startswith(
        "It is not shown that the judge uses the audio"
    )


def test_audio_use_is_unknown_without_intervals():
    unknown = copy.deepcopy(BEATEN)
    unknown["gain"]["macro"]["pearson"]["interval"] = None
    assert audio_use({"silence": unknown})[0].startswith(
        "Whether the judge uses the audio is unknown"
    )


def test_controls_with_sound_do_not_show_the_use_of_the_audio():
    not_run = {"reason": "this judge takes no audio", "what": "x", "gain": None}
    result = audio_use({"prosody": BEATEN, "silence": not_run})
    assert result[0].startswith("Whether the judge uses the audio was not tested")
    assert result[2] == "Silence: not available, this judge takes no audio."


def test_a_constant_control_has_an_error_but_no_correlation():
    constant = copy.deepcopy(BEATEN)
    constant["gain"]["macro"]["pearson"] = None
    (_, sentence) = audio_use({"training_mean": constant})
    assert "no correlation, because it is constant, difference in squared error" in sentence


@pytest.fixture
def phases(findings):
    return findings.metrics["test"]


def test_the_summary_has_the_values_of_the_metrics(phases, findings):
    result = summary("test", phases, findings.metrics["gain"]["test"], findings.titles)
    macro = phases["final"]["macro"]
    assert f"{macro['pearson']:.2f}" in result[0]
    assert "2 of 2 dimensions" in result[0]
    assert f"{macro['ceiling']['pearson']:.2f}" in result[2]
    assert f"{macro['pearson'] / macro['ceiling']['pearson']:.0%} of it" in result[2]


def test_an_interval_with_zero_does_not_show_agreement(phases, findings):
    changed = copy.deepcopy(dict(phases))
    changed["final"]["macro"]["pearson"] = 0.02
    changed["final"]["macro"]["interval"]["pearson"] = [-0.1, 0.14]
    result = " ".join(summary("test", changed, None, findings.titles))
    assert "agreement is not shown" in result
    assert "of it" not in result


@pytest.mark.parametrize(
    ("interval", "conclusion"),
    [([0.1, 0.3], "training raised the agreement"), ([-0.3, -0.1], "training lowered the agreement"),
     ([-0.1, 0.3], "no change is shown"), (None, "too few groups")],
)  # fmt: skip
def test_the_sentence_about_the_change_in_training(phases, findings, interval, conclusion):
    change = copy.deepcopy(findings.metrics["gain"]["test"])
    change["macro"]["pearson"]["interval"] = interval
    assert conclusion in summary("test", phases, change, findings.titles)[1]
