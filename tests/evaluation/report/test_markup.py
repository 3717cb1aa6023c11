"""Texts are escaped in Markdown and in pages, so that they are shown unchanged."""

import pytest
from hostile import HOSTILE, Elements
from markdown_it import MarkdownIt

from dramaeval.evaluation.leaderboard import rank
from dramaeval.evaluation.predictions import Prediction
from dramaeval.evaluation.report import leaderboard_page
from dramaeval.evaluation.report.markup import in_markdown, policy, printable, shortened
from dramaeval.evaluation.report.tables import Cell, Column, Table, markdown

TEXTS = [
    HOSTILE,
    "plain_key",
    "_emphasis_ and __strong__",
    "*emphasis* **strong** ~~gone~~",
    "a|b \\| c \\",
    "[link](javascript:alert(1))",
    "![picture](https://example.org/x.png)",
    "[label]: https://example.org",
    "[a][b] [c]",
    "<b>bold</b> &lt; &amp; R&D",
    "`code` ```more",
    "two\nlines\r\nand\u2028three",
    "# heading",
    "- item",
    "+0.20 [+0.10, +0.30]",
    "from $5 to $6",
]


@pytest.mark.parametrize("text", TEXTS)
def test_markdown_shows_a_text_literally_in_every_place(text):
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    shown = " ".join(text.splitlines())
    table = Table(text, [Column(text), Column("b")], [[Cell(text), Cell("2")]], notes=[text])
    page = reader.render(f"- {in_markdown(text)}\n\n{markdown(table)}")
    elements = Elements(page)
    tags = [tag for tag, _ in elements.found]
    assert [tag for tag in tags if tag not in ("tr", "thead", "tbody")] == [
        "ul", "li", "h3", "table", "th", "th", "td", "td", "p",
    ]  # fmt: skip
    assert [line for line in elements.text.splitlines() if line.strip()] == [
        shown, shown, shown, "b", shown, "2", shown,
    ]  # fmt: skip


def test_text_without_special_characters_is_unchanged():
    assert in_markdown("pitch_dynamics: 0.25 [0.10, 0.40], R & D") == (
        "pitch_dynamics: 0.25 [0.10, 0.40], R & D"
    )


def test_control_characters_and_surrogates_are_replaced():
    text = "a\x00b\x1b[31mc\ud800d\ufffee\tf\ng é 音 🙂"
    assert printable(text) == "a\ufffdb\ufffd[31mc\ufffdd\ufffde\tf\ng é 音 🙂"
    printable(text).encode("utf-8")


def test_a_long_text_is_cut_with_the_number_of_characters_left_out():
    assert shortened("abc", 3) == "abc"
    assert shortened("abcd" * 1_000, 3) == "abc … (3,997 more characters)"


def test_the_policy_has_the_hashes_of_style_and_script():
    # echo -n a | openssl dgst -sha256 -binary | base64
    digest = "ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs="
    assert policy("a", "") == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    assert f"; script-src 'sha256-{digest}';" in policy("b", "a")


def test_line_breaks_in_system_names_do_not_split_rows_of_a_leaderboard():
    """Three systems have one clip each of one prompt."""
    names = ("A\nB", "C\u2028D\r\nE", "F|G")
    predictions = [
        Prediction(
            id=name, dimension="pitch", scale=(1.0, 2.0, 3.0), distribution=None, expected=1.0 + number,
            ratings=(), state="scored", system=name,
        )
        for number, name in enumerate(names)
    ]  # fmt: skip
    board = rank(predictions, dict.fromkeys(names, "prompt"), draws=20, seed=0, level=0.95)
    ranking = markdown(leaderboard_page.tables_of(board, {})["ranking"])
    rows = [line for line in ranking.splitlines() if line.startswith("|")]
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| F\\|G", "| C D E", "| A B"]
    assert "from 1 to 3, over 1 prompt." in leaderboard_page.sentences(board)[0]
