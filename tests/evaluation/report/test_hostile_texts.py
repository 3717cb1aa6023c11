"""Pages with a hostile text in every place show it unchanged; no part of it becomes markup."""

import hashlib
import re
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hostile import HOSTILE, Elements

from dramaeval.evaluation.leaderboard import rank
from dramaeval.evaluation.multiple_choice import summarise_options
from dramaeval.evaluation.option_predictions import OptionPrediction
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.report import comparison_page
from dramaeval.evaluation.report import leaderboard_page as board_page
from dramaeval.evaluation.report.about_board import AboutBoard
from dramaeval.evaluation.report.choices_page import render_choices
from dramaeval.evaluation.report.read_results import Results
from dramaeval.evaluation.report.run_page import render
from dramaeval.evaluation.report.side_by_side import side_by_side
from dramaeval.evaluation.slices import slices
from dramaeval.evaluation.summary import summarise
from dramaeval.launch.sweeps.folder import SweepRun
from dramaeval.launch.sweeps.result_rows import Row, SeedGroup
from dramaeval.launch.sweeps.result_rows import Table as SweepTable
from dramaeval.launch.sweeps.state import RunState
from dramaeval.launch.sweeps.table import as_html

SETTINGS = {"seed": 0, "draws": 20, "level": 0.95}
#: The tags of the templates and pictures.
TAGS = {
    "html", "head", "meta", "link", "title", "style", "script", "body", "header", "nav", "main",
    "section", "article", "footer", "h1", "h2", "h3", "p", "a", "span", "small", "strong", "div",
    "ul", "li", "dl", "dt", "dd", "pre", "code", "details", "summary", "table", "caption", "thead",
    "tbody", "tfoot", "tr", "th", "td", "button", "meter", "audio", "figure", "figcaption", "svg",
    "g", "defs", "path", "text", "use", "rect", "image", "pattern", "clippath",
}  # fmt: skip


@pytest.fixture(scope="module")
def pages_without_records():
    """The pages of a leaderboard, a comparison and a sweep, with hostile texts."""
    rng = np.random.default_rng(0)
    systems = [HOSTILE, f"_{HOSTILE}", "plain"]
    built = [
        Prediction(
            id=f"{system}{at}", dimension=HOSTILE, scale=(1.0, 5.0), distribution=None,
            expected=float(rng.uniform(1, 5)), ratings=(float(rng.uniform(1, 5)),),
            state="scored", system=system, group=f"{HOSTILE}{at}",
        )
        for system in systems for at in range(6)
    ]  # fmt: skip
    board = rank(built, {entry.id: str(entry.group) for entry in built}, **SETTINGS)
    tables = board_page.tables_of(board, {HOSTILE: HOSTILE})
    shown = board_page.shown_tables(board, tables)
    runs = [
        Results(name=name, predictions=built, titles={HOSTILE: HOSTILE}, notes=[HOSTILE],
                config={HOSTILE: f"{at}{HOSTILE}"})
        for at, name in enumerate(systems)
    ]  # fmt: skip
    result = side_by_side(runs, **SETTINGS)
    compared = comparison_page.shown_tables(comparison_page.tables_of(result))
    return {
        "leaderboard": board_page.render_board(
            board,
            shown,
            HOSTILE,
            [HOSTILE],
            HOSTILE,
            AboutBoard(
                date=HOSTILE,
                agreement=HOSTILE,
                report=None,
                dimensions=[{"title": HOSTILE, "description": HOSTILE}],
            ),
            sentences=board_page.sentences(board),
            forest=board_page.board_forest(board),
        ),
        "comparison": comparison_page.render_comparison(
            result, compared, HOSTILE, [HOSTILE], HOSTILE
        ),
        "sweep": as_html(*sweep()),
    }


def sweep():
    """A table of two runs with hostile overrides, folders and states."""
    rows = tuple(
        Row(
            run=SweepRun(
                number=at,
                id=HOSTILE,
                folder=Path(f"{at}{HOSTILE.replace('/', '')}"),
                overrides=(f"{HOSTILE}={at}", f"task={at}{HOSTILE}", f"fixed={HOSTILE}"),
            ),
            state=RunState(state=f'failed"{HOSTILE}', reason=HOSTILE),
            agreement={},
            seconds=1.0,
        )
        for at in range(2)
    )
    group = SeedGroup(settings={HOSTILE: HOSTILE}, runs=[0, 1], mean=0.5, low=None, high=None)
    return SweepTable(rows), [group]


@pytest.fixture
def run_page(findings):
    """The report of a run with hostile keys, titles, systems, texts and values of slices."""
    predictions = [
        replace(
            prediction,
            dimension=HOSTILE if prediction.dimension == "pitch_dynamics" else prediction.dimension,
            system=f"{HOSTILE}{prediction.system}",
        )
        for prediction in findings.predictions
    ]
    records = [
        replace(
            record,
            fields={**record.fields, "local_scene": HOSTILE, "language": f"{HOSTILE}{at % 2}"},
        )
        for at, record in enumerate(findings.records)
    ]
    keys = [HOSTILE, "trait_embodiment"]
    summary = summarise(predictions, keys, **SETTINGS)
    about = {
        "overlaps": [HOSTILE],
        "remarks": {HOSTILE: {HOSTILE: 3}},
        "skipped": {HOSTILE: {"records": 1, "problems": [
            {"line": 1, "id": HOSTILE, "key": HOSTILE, "problem": HOSTILE}
        ]}},
    }  # fmt: skip
    metrics = {
        "test": {"final": summary},
        "slices": {"test": slices(predictions, records, [], ["language", HOSTILE], **SETTINGS)},
        "about": about,
    }
    return render(
        replace(
            findings, name=HOSTILE, metrics=metrics, predictions=predictions, records=records,
            titles={HOSTILE: HOSTILE}, text_fields=("local_scene",), config=HOSTILE,
            environment={"device": HOSTILE, "versions": {"torch": HOSTILE}}, facts=[HOSTILE],
        )
    )  # fmt: skip


@pytest.fixture
def choices_page(findings):
    records = [
        replace(record, fields={**record.fields, "question_text": HOSTILE})
        for record in findings.records
    ]
    predictions = [
        OptionPrediction(
            id=record.id, dimension=HOSTILE, options=(HOSTILE, "b"), answer=1, distribution=(0.9, 0.1),
            state="scored", category=HOSTILE, written=HOSTILE, written_state="scored",
        )
        for record in records
    ]  # fmt: skip
    metrics = {
        "choices": {HOSTILE: {"final": summarise_options(predictions, **SETTINGS)}},
        "about": findings.metrics["about"],
    }
    own = {"metrics": metrics, "predictions": predictions, "records": records, "split": HOSTILE}
    return render_choices(replace(findings, **own))


def check(page, least):
    """Assert that no part of the text is markup and that it is shown at least ``least`` times."""
    elements = Elements(page)
    assert {tag for tag, _ in elements.found} <= TAGS
    assert elements.text.count(HOSTILE) >= least
    assert "49" not in elements.text.replace(HOSTILE, "").split()  # {{ 7 * 7 }} is not evaluated
    for tag, attributes in elements.found:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        link = attributes.get("href") or attributes.get("src") or "#"
        assert link.startswith(("#", "data:", "./")), link
    # The policy allows exactly the style and scripts of the page.
    meta = dict(
        next(attributes for tag, attributes in elements.found if "http-equiv" in attributes)
    )
    allowed = re.findall(r"'(sha256-[^']*)'", str(meta["content"]))
    codes = [text for texts in elements.code.values() for text in texts]
    assert allowed == [
        f"sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}" for text in codes
    ]
    assert "unsafe" not in page
    assert "default-src 'none'" in str(meta["content"])


@pytest.mark.parametrize(
    ("name", "least"), [("leaderboard", 15), ("comparison", 60), ("sweep", 10)]
)
def test_pages_without_records_escape_hostile_texts(pages_without_records, name, least):
    check(pages_without_records[name], least)


@pytest.mark.slow
def test_the_report_of_a_run_escapes_hostile_texts(run_page):
    check(run_page, 40)
    ids = [attributes["id"] for _, attributes in Elements(run_page).found if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[\w-]+", name) for name in ids)


def test_the_report_of_multiple_choice_escapes_hostile_texts(choices_page):
    check(choices_page, 40)


@pytest.mark.slow
def test_hostile_texts_do_not_run_in_a_browser(pages_without_records, run_page, chromium, tmp_path):
    for name, page in {**pages_without_records, "run": run_page}.items():
        file = tmp_path / f"{name}.html"
        file.write_text(page, encoding="utf-8")
        chromium.get_log("browser")
        chromium.get(file.as_uri())
        assert chromium.get_log("browser") == []
        assert chromium.title != "hit"
        assert HOSTILE in chromium.execute_script("return document.body.textContent")


def test_the_content_policy_blocks_unescaped_markup(pages_without_records, chromium, tmp_path):
    """The text is inserted without escaping; the content policy of the page must stop the browser from running it."""
    file = tmp_path / "injected.html"
    page = pages_without_records["leaderboard"].replace(
        "</main>", f"{HOSTILE.partition('</title>')[0]}</main>"
    )
    assert page != pages_without_records["leaderboard"]
    file.write_text(page, encoding="utf-8")
    chromium.get_log("browser")
    chromium.get(file.as_uri())
    refused = [entry["message"] for entry in chromium.get_log("browser")]
    assert chromium.title != "hit"
    assert any("inline event handler" in message for message in refused)
    assert any("inline script" in message for message in refused)
    # The script of the page still sorts the table.
    head = chromium.find_element("css selector", "thead th")
    chromium.execute_script("arguments[0].click()", head.find_element("css selector", "button"))
    assert head.get_attribute("aria-sort") == "ascending"
