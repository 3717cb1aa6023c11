"""Tables in long and wide form: their records, and the ambiguous values that are reported."""

import csv
import io

import pytest
from source_rows import source_rows

from dramaeval.importing.draft_rubric import cannot_train, rubric_values
from dramaeval.importing.problems import BadSourceError

LONG = """clip,listener,question,score,text
a.wav,r1,pace,4,hello
a.wav,r1,warmth,2,hello
a.wav,r2,pace,5,hello
b.wav,r2,pace,1,bye
b.wav,r2,warmth,N/A,bye
"""
BY_RATER = """clip,listener,pace,warmth,text
a.wav,r1,4,2,hello
a.wav,r2,5,,hello
b.wav,r2,1,N/A,bye
"""
WIDE_BY_RATER = """clip,pace_rater1,pace_rater2,warmth_rater1,warmth_rater2,text
a.wav,4,5,2,,hello
b.wav,,1,,,bye
"""


def annotations(imported):
    return {record["id"]: record["annotations"] for record in imported.records}


#: Written by hand: two raters, the second of whom gives no warmth.
EXPECTED = {
    "a": {"pace": [4, 5], "warmth": [2, None]},
    "b": {"pace": [None, 1], "warmth": [None, None]},
}


@pytest.mark.parametrize("text", [LONG, BY_RATER, WIDE_BY_RATER], ids=["long", "by rater", "wide"])
def test_three_forms_of_a_table_give_the_same_ratings(import_text, text):
    assert annotations(import_text(text)) == EXPECTED


def test_a_rater_has_one_name_in_the_columns_of_all_dimensions(import_text):
    text = "clip,pace_rater1,pace_rater2,warmth_rater2,warmth_rater1\na.wav,1,2,3,4\n"
    (record,) = import_text(text).records
    assert record["raters"] == ["rater1", "rater2"]
    assert record["annotations"] == {"pace": [1, 2], "warmth": [4, 3]}


@pytest.mark.parametrize("text", [LONG, BY_RATER, WIDE_BY_RATER], ids=["long", "by rater", "wide"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_the_rows_of_the_source_follow_from_the_records(import_text, text, delimiter):
    text = text.replace(",", delimiter)
    rows = list(csv.DictReader(io.StringIO(text), delimiter=delimiter))
    assert source_rows(import_text(text).records) == rows


def test_a_record_has_its_transcript_raters_and_clip_path(import_text, tmp_path):
    first = import_text(LONG).records[0]
    assert first["transcript"] == "hello"
    assert first["raters"] == ["r1", "r2"]
    assert first["wav_path"] == str(tmp_path / "a.wav")


RATER_COLUMNS = [
    "rater1", "rater_1", "rater-A", "rater_A", "raterA", "raterb", "judge Smith", "Expert 2", "listener12",
    "subject3b", "RATER1", "pace_rater1", "pace_rater_1", "pace_raterA", "pace.listener.5f3c",
]  # fmt: skip
DIMENSION_COLUMNS = [
    "judgement", "overall_judgement", "judgment", "expertise", "level of expertise", "subjective", "subjectivity",
    "subjective_score",
]  # fmt: skip


@pytest.mark.parametrize("column", RATER_COLUMNS + DIMENSION_COLUMNS)
def test_a_column_belongs_to_a_rater_only_if_its_name_says_which(import_text, column):
    imported = import_text(f"clip,{column}\na.wav,3\nb.wav,4\nc.wav,1\n", name="x.csv")
    (field,) = imported.records[0]["annotations"]
    if column in DIMENSION_COLUMNS:
        assert field == column
    else:
        assert field == ("pace" if column.startswith("pace") else "rating")


def test_judgements_are_dimensions(import_text):
    text = "clip,overall_judgement,clarity_judgement\na.wav,3.42,2.81\nb.wav,4.13,3.07\n"
    imported = import_text(text, values="means")
    assert annotations(imported)["b"] == {"overall_judgement": 4.13, "clarity_judgement": 3.07}
    assert imported.raters == []


def test_numbers_of_trials_are_not_ratings(import_text):
    result = import_text("clip,listener,Trial Number,Response\na.wav,r1,1,4\n")
    assert annotations(result) == {"a": {"Response": [4]}}


def test_with_many_raters_each_record_lists_only_its_own(import_text):
    rows = "".join(f"a.wav,r{n},{n % 5 + 1}\n" for n in range(3))
    rows += "".join(f"b.wav,s{n},{n % 5 + 1}\n" for n in range(70))
    result = import_text("clip,rater,score\n" + rows)
    assert result.records[0]["annotations"] == {"score": [1, 2, 3]}
    assert result.records[0]["raters"] == ["r0", "r1", "r2"]
    assert any("73 raters" in notice for notice in result.notices)


def problems(import_text, text, **settings):
    with pytest.raises(BadSourceError) as error:
        import_text(text, **settings)
    return error.value.problems


@pytest.mark.parametrize(
    ("text", "row", "column", "problem"),
    [
        ("clip,rater,score\na.wav,r1,4\na.wav,r2,\"1,5\"\n", 3, "score", "can be 1.5 or two numbers"),
        ("clip,rater,score\na.wav,r1,four\n", 2, "score", "is not a number"),
        ("clip,rater,score\na.wav,r1,4\na.wav,r1,5\n", 3, "score", "2 ratings by r1: 4, 5 (rows 2-3)"),
        ("clip,rater,score\na.wav,,4\n", 2, "rater", "no rater"),
        ("clip,r1,r2\na.wav,1,2\n", None, None, "r1, r2: one column for each rater, or for each dimension?"),
        ("clip,Rating 1,Rating 2\na.wav,1,2\n", None, None, "one column for each rater, or for each dimension?"),
        ("clip,rater,score\na.wav,r1,+4\n", 2, "score", "'+4' is written in another form"),
        ("clip,rater,score\na.wav,r1,04\n", 2, "score", "'04' is written in another form"),
        ("clip,rater,score\na.wav,r1,4e0\n", 2, "score", "'4e0' is written in another form"),
        ("clip,rater,score\na.wav,r1,\uff14\n", 2, "score", "is written in another form"),
        ("clip,rater,score\na.wav,r1,3-May\n", 2, "score", "can be a date"),
        ("clip,rater,score\na.wav,r1,Mai 05\n", 2, "score", "can be a date"),
        ("clip,rater,score\na.wav,r1,01.02.2024\n", 2, "score", "can be a date"),
        ("clip,rater,score\na.wav,r1,2024-05-01\n", 2, "score", "can be a date"),
        ("clip,rater,score\na.wav,r1,01.05\n", 2, "score", "can be a date"),
        ("clip,rater,score\na.wav,r1,3/5\n", 2, "score", "can be a date"),
        ("clip,rater,score\n,r1,4\n", 2, "clip", "no clip"),
        ("clip,rater,score\nz.wav,r1,4\n", 2, "clip", "no such file"),
        ("clip,rater,score\na.wav,r1\n", 2, None, "2 cells where the header has 3"),
        ("clip,rater,score,text\na.wav,r1,4,x\na.wav,r2,4,y\n", 3, "text", "'y', but 'x' in row 2"),
        ("clip,score,rater,rater\na.wav,1,2,3\n", None, "rater", "2 columns of this name"),
        ("clip,listener,annotator,score\na.wav,r,s,1\n", None, None, "can each be the rater"),
        ("clip,pace,snore\na.wav,4,77\n", None, "snore", "outside 0 to 10"),
        ("clip,score,pace\na.wav,4,3\n", None, None, "score and pace hold numbers"),
        ("clip,mos\na.wav,3.42\n", None, "mos", "a mean, or one person's rating?"),
        ("clip,text\na.wav,hello\n", None, None, "no column holds ratings"),
        ("name,rater,score\none,r1,3\n", None, None, "no column names the clip"),
        (b"clip,score\na.wav,\xff\n", None, None, "0xff, which is not utf-8"),
        ("clip,score\na.wav,\"4\n", None, None, "not a table"),
    ],
)  # fmt: skip
def test_ambiguous_and_invalid_values_are_reported(import_text, text, row, column, problem):
    found = problems(import_text, text)
    assert any(
        (each.line, each.key) == (row, column) and problem in each.problem for each in found
    ), found


def test_all_problems_are_in_one_table(import_text):
    text = 'clip,rater,score\na.wav,r1,x\na.wav,r2,"2,5"\nz.wav,r1,3\nb.wav,,1\n'
    with pytest.raises(BadSourceError) as error:
        import_text(text)
    shown = str(error.value)
    assert "4 problems in 4 records" in shown
    assert "file" in shown
    assert "row" in shown
    assert "column" in shown
    for each in ("'x' is not a number", "'2,5' can be 2.5", "z.wav", "no rater"):
        assert each in shown


def test_two_delimiters_that_fit_are_reported(import_text):
    text = "clip;x|score\na.wav;x|4\n"
    assert "semicolon and bar both divide" in problems(import_text, text)[0].problem
    assert annotations(import_text(text.replace("x|", "x;", 2), delimiter=";"))["a"] == {
        "score": [4]
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"decimal": "comma"}, {"a": {"score": [1.5]}}),
        ({"labels": {"1,5": 2}}, {"a": {"score": [2]}}),
        ({"missing": ["1,5"]}, {"a": {"score": [None]}}),
    ],
)
def test_settings_say_how_an_ambiguous_value_is_read(import_text, settings, expected):
    text = 'clip,rater,score\na.wav,r1,"1,5"\n'
    assert annotations(import_text(text, **settings)) == expected


def test_a_missing_mean_is_read_again_as_missing(import_text):
    text = "clip,mos,pace\na.wav,3.42,2\nb.wav,,3.1\n"
    result = import_text(text, values="means", scale="1..5")
    assert annotations(result) == {
        "a": {"mos": 3.42, "pace": 2},
        "b": {"mos": {"mean": None}, "pace": 3.1},
    }
    assert cannot_train(rubric_values("x", "en", result.dimensions), result.records) == []
    found = problems(import_text, LONG, values="means")
    assert "importer.values=means, but clips have several ratings" in found[0].problem


MEANS = [
    "clip,score\na.wav,3.42\nb.wav,4.1\n",
    "clip,question,score\na.wav,q,3.42\nb.wav,q,4.1\n",
    "clip,mos\na.wav,3.42\nb.wav,4.1\n",
]


@pytest.mark.parametrize("text", MEANS, ids=["long", "questions", "wide"])
def test_a_single_number_of_a_clip_is_a_mean_only_where_the_settings_say_so(import_text, text):
    (found,) = problems(import_text, text)
    assert "3.42 in row 2: a mean, or one person's rating?" in found.problem
    means = import_text(text, values="means")
    assert [list(record["annotations"].values()) for record in means.records] == [[3.42], [4.1]]
    assert not any("raters" in record for record in means.records)
    assert not any("Raters are not identified" in notice for notice in means.notices)
    ratings = import_text(text, values="ratings")
    assert [list(record["annotations"].values()) for record in ratings.records] == [
        [[3.42]],
        [[4.1]],
    ]
    assert {record["raters"] for record in ratings.records} == {"unknown"}
    assert import_text(text.replace("3.42", "3").replace("4.1", "4.5")).records


def test_a_question_whose_name_is_a_number_can_have_a_scale(import_text):
    """The command line reads {1: 1..5} as a mapping with a whole number as the key."""
    text = "clip,rater,question,score\na.wav,r,1,4\na.wav,r,2,70\n"
    result = import_text(text, scale={1: "1..5", "2": "0..100/10"})
    assert [dimension.scale for dimension in result.dimensions] == [
        [1, 2, 3, 4, 5],
        list(range(0, 101, 10)),
    ]
    (found,) = problems(import_text, text, scale={3: "1..5"})
    assert found.problem == "importer.scale.3 is not a field with ratings"


TOPS = [
    ("Ratings of May\n\n", [1]),
    ("# exported, by hand\n# a;b\n", [1, 2]),
    ("\n\n", []),
    (",,\n", []),
    ("sep=,\nRatings\n", [2]),
]


@pytest.mark.parametrize(("top", "skip_rows"), TOPS)
@pytest.mark.parametrize("header", [None, ["clip", "rater", "score"]])
def test_the_header_is_the_first_row_that_is_not_skipped(import_text, top, skip_rows, header):
    names = "" if header else "clip,rater,score\n"
    text = f"{top}{names}a.wav,r1,4\na.wav,r2,x\n"
    settings = {"skip_rows": skip_rows, "header": header}
    (found,) = problems(import_text, text, **settings)
    assert found.line == text[: text.index("r2")].count("\n") + 1
    assert annotations(import_text(text.replace("x", "5"), **settings)) == {"a": {"score": [4, 5]}}


def test_a_title_above_the_header_is_named_with_the_setting_that_skips_it(import_text):
    found = problems(import_text, "Ratings of May\nclip,rater,score\na.wav,r1,4\n")
    assert any("importer.skip_rows" in each.fix for each in found)


def test_a_first_line_with_sep_gives_the_delimiter(import_text):
    text = "sep=;\nclip;rater;score\na.wav;r1;4\na.wav;r2;x\n"
    assert problems(import_text, text)[0].line == 4
    assert annotations(import_text(text.replace("x", "5"))) == {"a": {"score": [4, 5]}}


def test_questions_with_similar_names_get_different_keys(import_text):
    text = "clip,rater,question,score\na.wav,r,How warm?,1\na.wav,r,How warm!,2\n"
    result = import_text(text)
    rubric = rubric_values("x", "en", result.dimensions)
    assert [each["key"] for each in rubric["dimensions"]] == ["how_warm", "how_warm_2"]
    assert [each["annotation"] for each in rubric["dimensions"]] == ["How warm?", "How warm!"]


@pytest.mark.parametrize(("repeats", "kept"), [("first", 4), ("last", 5)])
def test_of_repeated_ratings_the_first_or_the_last_is_kept(import_text, repeats, kept):
    text = "clip,rater,score\na.wav,r1,4\na.wav,r1,5\n"
    assert annotations(import_text(text, repeats=repeats)) == {"a": {"score": [kept]}}


def test_clips_with_problems_are_left_out_and_counted(import_text):
    result = import_text("clip,rater,score\na.wav,r1,x\nb.wav,r1,3\n", bad_records="skip")
    assert list(annotations(result)) == ["b"]
    assert [(each.line, each.id) for each in result.skipped] == [(2, "a.wav")]


def test_mean_ratings_with_and_without_spread(import_text):
    text = "clip,mos,mos_std,votes\na.wav,3.42,0.9,12\nb.wav,4,0.5,8\n"
    assert annotations(import_text(text, values="means")) == {"a": {"mos": 3.42}, "b": {"mos": 4}}
    spread = import_text(text, dimensions={"mos": {"mean": "mos", "std": "mos_std", "n": "votes"}})
    assert annotations(spread)["a"] == {"mos": {"mean": 3.42, "std": 0.9, "n": 12}}


@pytest.mark.parametrize(
    ("scale", "points"),
    [
        ("1..5", [1, 2, 3, 4, 5]),
        ("2..4/0.5", [2, 2.5, 3, 3.5, 4]),
        (None, [2, 3, 4]),
        ([1, 2, 4], [1, 2, 4]),
    ],
)
def test_the_scale_of_a_dimension_is_given_or_follows_from_its_ratings(import_text, scale, points):
    result = import_text("clip,rater,score\na.wav,r1,2\na.wav,r2,4\n", scale=scale)
    assert list(result.dimensions[0].scale) == points
    assert result.dimensions[0].is_given == (scale is not None)


def test_ratings_off_the_scale_are_reported(import_text):
    found = problems(import_text, "clip,rater,score\na.wav,r1,6\na.wav,r2,2.5\n", scale="1..5")
    assert [(each.line, each.problem[:3]) for each in found] == [(2, "6 i"), (3, "2.5")]


def test_unknown_names_in_settings_are_reported(import_text):
    found = problems(
        import_text, "clip,rater,score\na.wav,r1,6\n", columns={"clipp": "clip", "rater": "rate"}
    )
    assert "clipp is not a role" in found[0].problem
    assert "rater names a column that is absent" in found[1].problem
    assert "rater" in found[1].problem


def test_dimensions_that_cannot_be_trained_are_stated(import_text):
    def reasons(text, **settings):
        result = import_text(text, **settings)
        return cannot_train(rubric_values("x", "en", result.dimensions), result.records)

    assert reasons("clip,rater,score\na.wav,r1,2\na.wav,r2,4\n", scale="1..5") == []
    assert reasons("clip,rater,score\na.wav,r1,2.5\na.wav,r2,4\n", scale="1..5/0.5") == []
    (reason,) = reasons("clip,rater,score\na.wav,r1,2\n", scale="0..1000")
    assert "1001" in reason
