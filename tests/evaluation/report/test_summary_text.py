"""The sentences of the summary, whose conclusions follow from the intervals."""

import copy

import pytest

from dramaeval.evaluation.report.control_tables import controls
from dramaeval.evaluation.report.sections import agreement, metric_cell
from dramaeval.evaluation.report.summary_text import audio_use, drop_text, summary
from dramaeval.evaluation.summary import summarise


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
    row = cells(controls({"training_mean": constant}))
    assert row["Gain"].missing == "the correlation of a constant is undefined"
    assert row["Difference in MSE"].text == "0.00"


def test_a_control_without_scores_is_not_called_constant():
    """As prosody with fewer than ten rated training records."""
    unscored = copy.deepcopy(BEATEN)
    unscored["gain"] = {"macro": {"pearson": None, "mse": None}, "records": 0}
    (_, sentence) = audio_use({"prosody": unscored})
    assert sentence == "Prosody (a control): no correlation, because no clip is scored by both."
    row = cells(controls({"prosody": unscored}))
    for column in ("Pearson of the control", "Gain", "p", "Difference in MSE"):
        assert row[column].missing == "no clip is scored by both"


def cells(table):
    """The cells of a table's only row, by the title of their column."""
    (row,) = table.rows
    return dict(zip((column.title for column in table.columns), row, strict=True))


@pytest.mark.parametrize(
    ("difference", "interval", "text"),
    [
        (-0.3, [-0.5, -0.1], "−0.30 [−0.50, −0.10]; agreement is lower."),
        (0.3, [0.1, 0.5], "+0.30 [+0.10, +0.50]; agreement is higher."),
        (-0.001, [-0.2, -0.0], "0.00 [−0.20, 0.00]; no difference is shown."),
        (0.1, None, "+0.10; there are too few groups for an interval."),
    ],
)
def test_the_sentence_on_a_drop(difference, interval, text):
    entry = {"difference": difference, "interval": interval}
    figure = {"from": "test_studio", "macro": {"pearson": entry}}
    head = "test_wild against test_studio, final: "
    assert drop_text("test_wild", "final", figure) == f"{head}macro Pearson {text}"
    figure["macro"]["pearson"] = None
    assert drop_text("test_wild", "final", figure).startswith(f"{head}the difference is undefined")


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


def test_a_bias_over_different_scales_is_stated_in_ranges(make_prediction):
    """The scores are 0.8 too high on the scale 1-5 and 0.4 on 1-3: a fifth of either range."""

    def biased(dimensions):
        predictions = [
            make_prediction(
                f"r{number}", number % 2 + 1 + bias, (number % 2 + 1,), dimension=key, scale=scale
            )
            for number in range(20)
            for key, (scale, bias) in dimensions.items()
        ]
        judge = summarise(predictions, list(dimensions), seed=0, draws=50)
        return " ".join(summary("test", {"final": judge}, None, {}))

    five, three = tuple(map(float, range(1, 6))), (1.0, 2.0, 3.0)
    assert "on average 0.20 of a scale's range above people's." in biased(
        {"a": (five, 0.8), "b": (three, 0.4)}
    )
    assert "on average 0.60 above people's." in biased({"a": (five, 0.8), "b": (five, 0.4)})


def test_a_missing_value_has_the_reason_of_its_row(make_prediction):
    """On the dimension a all scores are equal; b has no predictions."""
    predictions = [make_prediction(f"r{n}", 3.0, (n % 5 + 1,), dimension="a") for n in range(9)]
    judge = summarise(predictions, ["a", "b"], seed=0, draws=0)
    own = judge["dimensions"]["a"]["undefined"]["pearson"]
    table = agreement({"final": judge}, None, {}, "Agreement")
    missing = [row[1].missing for row in [*table.rows, *table.foot]]
    assert missing[0] == own
    assert missing[2] == "not defined on any dimension"
    assert metric_cell(judge["macro"], "auroc").missing == "not defined on any dimension"
    assert metric_cell(judge["dimensions"]["a"], "auroc").missing == "does not apply to this scale"
    assert metric_cell({}, "auroc").missing == "not evaluated"
