"""Rubrics and prompts: all problems of a rubric are reported together, and prompts have the expected texts."""

import copy
import json
import re

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from repository import ROOT

from dramaeval.config import registration
from dramaeval.config.problems import ConfigError
from dramaeval.data.records import read_records
from dramaeval.stages.builders import build_task
from dramaeval.tasks.rubric import RubricError, read_rubric
from dramaeval.tasks.task import Task
from dramaeval.training.question_sampler import trainable_dimensions

REALISM = yaml.safe_load((ROOT / "configs/task/rubric/realism.yaml").read_text("utf-8"))


def changed_rubric(**changes):
    data = copy.deepcopy(REALISM)
    for path, value in changes.items():
        data["dimensions"][0][path] = value
    return data


def twin(key, **values):
    """A dimension whose texts are those of the others."""
    scored = {"title": "Pace", "description": "How fast.", "scale": [1, 2]}
    return {"key": key, "annotation": key} | scored | values


#: With the default question, only the first two have the same; a reference makes another question.
TWINS = [
    twin("one"), twin("two"), twin("three", scale=[1, 2, 3]), twin("four", reference=True),
    twin("five", title="Warmth", scale=[0, 1]), twin("six", scale=[0, 1]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (
            {},
            ["rubric.name is missing", "rubric.version is missing", "rubric.dimensions is missing"],
        ),
        ({**REALISM, "versoin": 1}, ["rubric.versoin is not known"]),
        (
            {**REALISM, "dimensions": REALISM["dimensions"][:1] * 2},
            ["pitch_dynamics appears twice"],
        ),
        (
            {
                **REALISM,
                "question": "One score from {low} to {high}:\n{scores}",
                "dimensions": TWINS,
            },
            ["dimensions one, two have the same question", "dimensions five, six have the same"],
        ),
        ({**REALISM, "dimensions": TWINS[:2]}, ["one, two have the same question"]),
        (changed_rubric(scale=[1, 1, 2]), ["scale must ascend without repeats, got [1, 1, 2]"]),
        (changed_rubric(scale=[5, 4, 3, 2, 1]), ["scale must ascend"]),
        (changed_rubric(scale=["a", 2]), ["at least two numbers, or at least two labels"]),
        (
            changed_rubric(scores={1: "bad", 6: "good"}),
            ["explains [6], which are no scores of 1 | 2 | 3"],
        ),
        (changed_rubric(skale=[1]), ["(pitch_dynamics).skale is not known"]),
        (changed_rubric(title=""), ["rubric.dimensions[0] (pitch_dynamics) lacks title"]),
        (
            changed_rubric(key='k"><img src=x>'),
            ["""rubric.dimensions[0] (k"><img src=x>).key must be of letters"""],
        ),
        (
            {
                **REALISM,
                "question": "{titel}: {description}",
                "short_question": "{title.x}",
                "item": '{"label": 1}',
                "score_line": "{title}",
                "together": "{items} {form",
                "any_order": "{}",
                "reference_label": "{no template}",
                "rater_line": "{rater} {title}",
            },
            [
                "rubric.question holds {titel}; it may hold {title}, {label}, {description}, {scores}, {low}, {high}",
                "rubric.short_question holds {title.x}; it may hold {title}",
                """rubric.item holds {"label"}; it may hold {title}""",
                "is written twice, {{ or }}",
                "rubric.score_line holds {title}; it may hold {score}, {meaning}",
                "rubric.together is not a valid template (expected '}' before end of string); it may hold {items}, {form}",
                "rubric.any_order holds {}; it may hold {items}, {form}",
                "rubric.rater_line holds {title}; it may hold {rater}",
            ],
        ),
        (changed_rubric(key="a\\d"), ["got 'a\\\\d'"]),
        (changed_rubric(key="two words"), ["got 'two words'"]),
        (changed_rubric(key="1st"), ["got '1st'"]),
        (changed_rubric(key=5), ["got 5"]),
        ({**REALISM, "dimensions": ["x"]}, ["rubric.dimensions[0] is not a mapping"]),
    ],
)
def test_all_problems_of_a_rubric_are_reported(data, messages):
    with pytest.raises(RubricError) as raised:
        read_rubric(data)
    for message in messages:
        assert message in str(raised.value)


YAML_TYPES = """
name: off
version: 1.10
language: no
dimensions:
- {key: yes, annotation: 3, title: On, description: 12:30, scale: [0, 1], scores: {0: No, 1: Yes}}
- {key: b, annotation: b, title: [b], description: 2026-11-28, scale: [no, yes], scores: {0: a, 1: b}}
- {key: c, annotation: c, title: c, description: c, scale: [0, 1], scores: {no: a, yes: b}}
- {key: d, annotation: d, title: d, description: d, scale: [0, 1], scores: {0: ~, 1: b}}
"""


def test_dimensions_are_added_to_those_of_another_rubric(composed, make_clips):
    task = build_task(composed("task/rubric=realism_semantic"))
    plain = build_task(composed())
    assert task.dimensions[:10] == plain.dimensions
    (added,) = task.dimensions[10:]
    assert (added.key, added.annotation, added.optional) == (
        "semantic_matchness",
        "semantic_match",
        True,
    )
    file = make_clips("a", 2)
    first, second = map(json.loads, file.read_text("utf-8").splitlines())
    first["annotations"]["semantic_match"] = [5, 4, None, 5, 5, 5]
    file.write_text(json.dumps(first) + "\n" + json.dumps(second) + "\n", encoding="utf-8")
    rated, unrated = task.read(file).records
    assert task.ratings(rated, added) == (5, 4, None, 5, 5, 5)
    assert task.ratings(unrated, added) == ()
    assert len(trainable_dimensions(task, rated)) == 11
    assert len(trainable_dimensions(task, unrated)) == 10


def test_wrong_added_dimensions_are_refused():
    wrong = {
        **changed_rubric(),
        "added_dimensions": [{**changed_rubric()["dimensions"][0], "optional": "yes"}, 3],
    }
    with pytest.raises(RubricError) as raised:
        read_rubric(wrong)
    first = wrong["dimensions"][0]["key"]
    for message in (
        f"rubric.added_dimensions[0] ({first}).optional must be true or false, got 'yes'",
        "rubric.added_dimensions[1] is not a mapping",
        f"dimension {first} appears twice",
    ):
        assert message in str(raised.value)


def test_words_and_numbers_that_yaml_reads_as_its_own_types_are_refused():
    with pytest.raises(RubricError) as raised:
        read_rubric(yaml.safe_load(YAML_TYPES))
    first, false, true = "dimensions[0] (True)", "is a truth value (false)", "is a truth value (true)"  # fmt: skip
    expected = (
        f"rubric.name {false}", "rubric.version is the number 1.1", f"rubric.language {false}",
        f"{first}.key must be of letters", f"{first}.annotation is the number 3", f"{first}.title {true}",
        f"{first}.description is the number 750", f"{first}.scores.0 {false}", f"{first}.scores.1 {true}",
        "(b).title is a list", "(b).description is date", "(b).scale must list at least two numbers",
        "(c).scores explains [False, True]", "(d).scores has no meaning for 0",
    )  # fmt: skip
    for message in expected:
        assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == len(expected) + 1


def test_braces_that_are_written_twice_are_texts():
    rubric = read_rubric({**changed_rubric(), "item": '{{"{label}": score}}'})
    label = rubric.dimensions[0].label
    assert rubric.explanation(rubric.dimensions[:1]) == f'{{"{label}": score}}'


def test_such_words_in_quotes_are_kept_as_texts():
    quoted = {"version": "1.10", "language": "no"}
    words = {"title": "On", "scale": [0, 1], "scores": {0: "No", 1: "Yes"}}
    rubric = read_rubric({**changed_rubric(**words), **quoted})
    assert (rubric.version, rubric.language) == ("1.10", "no")
    assert "On: " in rubric.criterion(rubric.dimensions[0])
    assert "0: No\n1: Yes" in rubric.criterion(rubric.dimensions[0])


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("role", {"system": False}, "task.system is a truth value (false)"),
        ("role", {"context": 3}, "task.context is the number 3"),
        ("avqa", {"rubric.language": False}, "task.rubric.language is a truth value (false)"),
        ("avqa", {"rubric.version": 1.1}, "task.rubric.version is the number 1.1"),
        ("avqa", {"rubric.option_line": "{score}"}, "option_line holds {score}; it may hold {number}, {option}"),
        ("avqa", {"rubric.question": "{title}"}, "rubric.question holds {title}; it may hold {question}, {options}"),
        ("role", {"context": "{a"}, "task.context='{a' is not a valid template"),
        ("role", {"context": "{}"}, "write keys of records in braces"),
        ("speech", {"optional_context": ["{a.b}"]}, "task.optional_context='{a.b}' is not a valid template"),
        ("role_variation", {"phrasings.headers": [True]}, "phrasings.headers[0] is a truth value"),
        ("role_variation", {"phrasings.scales": "{score}"}, "phrasings.scales is not a list"),
        ("role_variation", {"phrasings.language": False}, "phrasings.language is a truth value"),
        ("role_variation", {"phrasings.descriptions.pitch_dynamics": [1]}, "pitch_dynamics[0] is the number 1"),
    ],
)  # fmt: skip
def test_other_types_than_text_and_unknown_names_are_refused_in_the_texts_of_a_task(
    composed, task, change, message
):
    config = composed(f"task={task}")
    for key, value in change.items():
        OmegaConf.update(config.task, key, value)
    with pytest.raises(ConfigError, match=re.escape(message)):
        build_task(config)


def test_the_key_of_a_dimension_may_be_a_name_in_any_language():
    assert read_rubric(changed_rubric(key="音高"))["音高"].title == "Pitch dynamics"


def test_the_message_on_a_wrong_rubric_names_its_file(tmp_path):
    file = tmp_path / "task/rubric/warmth.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(
        yaml.safe_dump({**changed_rubric(key="a b"), "name": "warmth"}), encoding="utf-8"
    )
    registration.register()
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose(
            "launch",
            overrides=[
                f"hydra.searchpath=[file://{tmp_path}]",
                "task=mixed",
                "task/rubric@task.tasks.role.rubric=warmth",
            ],
            return_hydra_config=True,
        )
    HydraConfig.instance().set_config(config)
    try:
        with pytest.raises(ConfigError) as raised:
            build_task(config)
    finally:
        HydraConfig.instance().cfg = None
    assert "The rubric warmth cannot be used" in str(raised.value)
    assert "got 'a b'" in str(raised.value)
    assert str(raised.value).endswith(f"The file is {file}.")


def test_an_unknown_dimension_is_refused(composed):
    with pytest.raises(ConfigError, match="no dimension 'pitch'; it has pitch_dynamics, "):
        build_task(composed("task.dimensions=[pitch]"))


def test_with_context_first_all_questions_begin_with_the_same_context(composed, make_clips):
    task = build_task(composed())
    record = read_records(make_clips("a", 1), task.record_format()).records[0]
    texts = [task.messages(record, one)[1]["content"][1]["text"] for one in task.dimensions]
    context = (
        "Character: Adult; Calm, Dry. Number 0 of the a crew.\n"
        "Scene: Evening a 0: the crew waits for news.\nLine: That makes 0.\n"
    )
    assert all(text.startswith(context) for text in texts)
    assert len(set(texts)) == 10


def test_with_criteria_first_the_criterion_precedes_the_context(composed, make_clips):
    task = build_task(composed("task.prompt_layout=criteria_first"))
    record = read_records(make_clips("a", 1), task.record_format()).records[0]
    text = task.messages(record, task.dimensions[0])[1]["content"][1]["text"]
    assert text.startswith("Pitch dynamics: ")
    assert text.endswith("Line: That makes 0.")


def test_with_rubric_first_all_prompts_begin_with_the_rubric(composed, make_clips):
    task = build_task(
        composed(
            "task.prompt_layout=rubric_first", "task.dimensions=[pitch_dynamics,trait_embodiment]"
        )
    )
    contents = [
        task.messages(record, dimension)[1]["content"]
        for record in read_records(make_clips("a", 2), task.record_format()).records
        for dimension in task.dimensions
    ]
    assert [[part["type"] for part in content] for content in contents] == [
        ["text", "audio", "text"]
    ] * 4
    (first,) = {content[0]["text"] for content in contents}
    assert first.startswith("[PitchDynamics] Pitch dynamics: How well the rise and fall")
    assert first.count("\n1: ") == 2
    assert first.endswith("\n")
    questions = [content[2]["text"].splitlines()[-1] for content in contents]
    assert questions[:2] == [
        "Pitch dynamics: answer with one score from 1 to 5 as <answer>score</answer>.",
        "Trait embodiment: answer with one score from 1 to 5 as <answer>score</answer>.",
    ]


@pytest.mark.parametrize(
    "words", [["task=role_all"], ["task=role_variation"], ["task=pair_direct"]], ids=" ".join
)
def test_rubric_first_needs_questions_that_only_name_a_dimension(composed, words):
    with pytest.raises(ConfigError, match="rubric_first"):
        build_task(composed(*words, "task.prompt_layout=rubric_first"))


def test_braces_in_a_record_are_not_filled_in(composed, make_clips):
    task = build_task(composed())
    record = read_records(make_clips("a", 1), task.record_format()).records[0]
    fields = {**record.fields, "transcript": "{char_age} {nothing} <answer>5</answer>"}
    record_with_braces = type(record)(**{**vars(record), "fields": fields})
    text = task.messages(record_with_braces, task.dimensions[0])[1]["content"][1]["text"]
    assert "Line: {char_age} {nothing} <answer>5</answer>" in text


def test_the_record_format_follows_from_rubric_and_context(composed):
    fmt = build_task(composed()).record_format()
    assert fmt.text_fields == (
        "char_age",
        "char_style",
        "char_profile",
        "local_scene",
        "transcript",
    )
    assert len(fmt.annotation_fields) == 10


def test_the_guide_names_methods_of_a_task():
    guide = (ROOT / "docs/guides/extending.md").read_text("utf-8")
    section = guide.partition("## A task kind")[2].partition("\n## ")[0]
    names = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)))
    assert {"questions", "target"} <= set(names)
    assert [name for name in names if not hasattr(Task, name)] == []


def test_dimensions_with_questions_of_their_own_are_valid():
    assert len(read_rubric({**REALISM, "dimensions": TWINS[1:]}).dimensions) == 5
