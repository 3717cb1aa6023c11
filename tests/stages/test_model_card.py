"""Model cards: the licence of the base, unknown values, figures of mixtures and pairs, and escaping."""

import pytest
from hostile import HOSTILE, Elements
from markdown_it import MarkdownIt

from dramaeval.stages.model_card import card, licence_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: apache-2.0\n---\n# Base", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: tongyi\n---\n", "tongyi"),
        ("---\nlicense:\n- mit\n- cc0-1.0\n---\n", "mit, cc0-1.0"),
        ("---\ntags: [audio]\n---\nlicense: mit", None),
        ("# Base\nlicense: mit", None),
        ("---\nlicense: [broken\n---\n", None),
        ("", None),
    ],
)
def test_the_licence_is_read_from_the_front_matter_of_the_base_card(tmp_path, text, expected):
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    assert licence_of(str(tmp_path)) == expected


def test_a_base_without_a_card_has_no_known_licence(tmp_path):
    assert licence_of(str(tmp_path)) is None
    assert licence_of("nobody/has-this-base") is None


def test_unknown_values_are_stated_as_not_known():
    text = card({}, {}, {}, {"peft_type": "LORA", "base_model_name_or_path": "owner/base"})
    assert "An adapter (LORA)" in text
    assert "Rubric: not known, version not known" in text
    assert "Not measured." in text
    assert "The licence of the base, owner/base, is not known" in text
    assert "\nlicense:" not in text


def test_a_mixture_names_every_task_and_its_accuracy():
    part = {"accuracy": 0.5, "interval": [0.25, 0.75], "n": 8}
    values = {"likelihood": part, "chance": 0.25}
    metrics = {
        "choices": {"test": {"final": {"overall": values, "categories": {"voice": values}}}},
        "about": {"records": {"train": 9}},
    }
    tasks = {
        "role": {
            "rubric": {"name": "realism", "version": "1.0"},
            "data": {"train": "/x/mine.jsonl"},
        },
        "avqa": {
            "rubric": {"name": "avqa", "version": "2.0"},
            "data": {"sample": "/y"},
            "labels": "mean",
        },
    }
    text = card({"task": {"tasks": tasks}}, metrics, {}, {})
    assert "Rubric: realism, version 1.0" in text
    assert "Rubric: avqa, version 2.0" in text
    assert "| train | mine.jsonl, the bundled sample | 9 |" in text
    assert "| voice | 0.500 [0.250, 0.750] | 0.25 | 8 |" in text


def test_names_keys_and_paths_are_escaped():
    """Cards are shown on sites that render the HTML in Markdown."""
    dimensions = [{"key": HOSTILE}]
    figures = {"pearson": 0.5, "n": 3, "interval": {}}
    text = card(
        {
            "task": {"rubric": {"name": HOSTILE, "version": HOSTILE, "dimensions": dimensions},
                     "data": {"train": f"/x/{HOSTILE.replace('/', '')}"}, "labels": HOSTILE},
            "trainer": {"args": {HOSTILE: HOSTILE}},
        },
        {
            "test": {"final": {"macro": figures, "dimensions": {HOSTILE: figures}}},
            "about": {"overlaps": [HOSTILE]},
        },
        {"dtype": HOSTILE, "versions": {"torch": f"a\n| b | {HOSTILE}"}},
        {"peft_type": HOSTILE, "base_model_name_or_path": f"x\n# {HOSTILE}"},
    )  # fmt: skip
    body = text.split("---\n", 2)[2]
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
    elements = Elements(page)
    assert {tag for tag, _ in elements.found} == {
        "h1", "h2", "p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "code",
    }  # fmt: skip
    assert elements.text.count(HOSTILE) >= 11
    assert [tag for tag, _ in elements.found].count("h1") == 1


def test_a_judge_of_pairs_states_both_accuracies():
    row = {
        "accuracy": 0.5, "accuracy_untied": 0.625, "pairs": 8,
        "interval": {"accuracy_untied": [0.25, 0.75]},
    }  # fmt: skip
    undefined = {**row, "accuracy_untied": None}
    pairs = {"test": {"final": {"macro": row, "dimensions": {"pitch": undefined}}}}
    text = card({}, {"pairs": pairs}, {}, {})
    assert "| all | 0.625 [0.250, 0.750] | 0.500 | 8 |" in text
    assert "| pitch | not defined | 0.500 | 8 |" in text
    assert "Not measured." not in text
