"""The sentences: each verdict follows from the intervals that it stands on."""

import copy

import pytest

from dramaeval.evaluation.report.summary_text import hearing, summary


def gain(difference, low, high, mse=0.0):
    entry = {"difference": difference, "interval": [low, high], "p": 0.01, "a": 0.5, "b": 0.3}
    return {
        "what": "a control",
        "reason": None,
        "gain": {"macro": {"pearson": entry, "mse": {**entry, "difference": mse}}, "records": 9},
    }


HEARD, NOT_HEARD = gain(0.3, 0.1, 0.5), gain(0.1, -0.1, 0.3)


def test_it_hears_where_every_loss_of_sound_costs_it():
    found = hearing({"silence": HEARD, "shuffled_audio": HEARD, "transcript_only": HEARD})
    assert found[0].startswith("The judge hears")
    assert "gain in correlation +0.30 [+0.10, +0.50]" in found[1]


def test_it_is_not_shown_to_hear_where_one_does_not():
    found = hearing({"silence": HEARD, "shuffled_audio": NOT_HEARD, "transcript_only": NOT_HEARD})
    assert found[0] == (
        "It is not clear that the judge hears: it does not beat shuffled audio and transcript only."
    )
    assert hearing({"silence": NOT_HEARD})[0].startswith("It is not shown that the judge hears")


def test_without_intervals_nothing_is_said_of_it():
    unknown = copy.deepcopy(HEARD)
    unknown["gain"]["macro"]["pearson"]["interval"] = None
    assert hearing({"silence": unknown})[0].startswith("Whether the judge hears cannot be said")


def test_prosody_and_training_mean_do_not_decide_it():
    lost = {"reason": "this judge only reads", "what": "x", "gain": None}
    found = hearing({"prosody": HEARD, "silence": lost})
    assert found[0].startswith("Whether the judge hears was not tested")
    assert found[2] == "Silence: not available, this judge only reads."


def test_a_constant_control_has_an_error_but_no_correlation():
    constant = copy.deepcopy(HEARD)
    constant["gain"]["macro"]["pearson"] = None
    (_, told) = hearing({"training_mean": constant})
    assert "no correlation, being constant, in squared error" in told


@pytest.fixture
def phases(findings):
    return findings.metrics["test"]


def test_the_summary_says_what_the_metrics_say(phases, findings):
    found = summary("test", phases, findings.metrics["gain"]["test"], findings.titles)
    macro = phases["final"]["macro"]
    assert f"{macro['pearson']:.2f}" in found[0]
    assert "2 of 2 dimensions" in found[0]
    assert f"{macro['ceiling']['pearson']:.2f}" in found[2]
    assert f"{macro['pearson'] / macro['ceiling']['pearson']:.0%} of it" in found[2]


def test_agreement_that_is_not_shown_is_not_boasted_of(phases, findings):
    changed = copy.deepcopy(dict(phases))
    changed["final"]["macro"]["pearson"] = 0.02
    changed["final"]["macro"]["interval"]["pearson"] = [-0.1, 0.14]
    found = " ".join(summary("test", changed, None, findings.titles))
    assert "agreement is not shown" in found
    assert "of it" not in found


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [([0.1, 0.3], "training raised it"), ([-0.3, -0.1], "training lowered it"),
     ([-0.1, 0.3], "no change is shown"), (None, "too few groups")],
)  # fmt: skip
def test_what_training_did(phases, findings, bounds, verdict):
    change = copy.deepcopy(findings.metrics["gain"]["test"])
    change["macro"]["pearson"]["interval"] = bounds
    assert verdict in summary("test", phases, change, findings.titles)[1]
