"""Pictures as SVG elements of a page: texts are unchanged, there are no style sheets, and ids are unique."""

import re
import warnings
from xml.etree import ElementTree

import pytest

from dramaeval.evaluation.report import plots
from dramaeval.evaluation.report.svg import SVG, embedded

#: The attributes that the pictures may have.
ATTRIBUTES = {
    "xmlns", "version", "viewBox", "width", "height", "role", "aria-label", "id", "href", "x", "y", "d",
    "transform", "clip-path", "patternUnits",
    "fill", "fill-opacity", "opacity", "stroke", "stroke-dasharray", "stroke-dashoffset", "stroke-linecap",
    "stroke-linejoin", "stroke-miterlimit", "stroke-opacity", "stroke-width", "text-anchor",
    "font-family", "font-size", "font-weight", "font-style",
}  # fmt: skip


def forest(rows, series=("judge",)):
    styles = dict.fromkeys(series, (plots.JUDGE, "o"))
    marks = {name: [plots.Interval(0.1, (0.0, 0.2)) for _ in rows] for name in series}
    return plots.forest("forest", "label", rows, marks, styles, "Pearson")


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{{{SVG}}}text")]


def test_dollar_signs_are_text_and_not_mathematics():
    assert "from $5 to $6" in texts(forest(["from $5 to $6"]))
    assert "$a_b$" in texts(forest(["x"], ["$a_b$", "y"]))


def test_every_series_is_in_the_legend_whatever_its_name():
    result = texts(forest(["x"], ["_hidden", "b" * 200]))
    assert " _hidden" in result
    assert "b" * (plots.MOST_SERIES_LETTERS - 1) + "…" in result


@pytest.mark.parametrize("text", ["The name of a long dimension " * 4, "a\nb\tc"])
def test_long_labels_and_line_breaks_cause_no_warning(text):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = forest([text] * 2, [text, "x", "y"])
    assert all("\n" not in entry for entry in texts(svg))


def test_pictures_have_attributes_instead_of_styles_and_unique_ids(random_arrays):
    of = random_arrays(seed=0, n=600)
    pictures = [
        forest(["x"], ["a", "b"]),
        plots.scatter("scatter-0", "x", of),
        plots.distributions("shares-0", "x", of),
        plots.calibration("calibration-0", "x", of),
        plots.curve("curve", "x", {"a": [(1, 0.5), (2, 0.4)], "b": [(1, 0.5), (2, 0.4)]}, "loss"),
    ]
    for svg in pictures:
        root = ElementTree.fromstring(svg)
        elements = list(root.iter())
        assert f"{{{SVG}}}style" not in {element.tag for element in elements}
        plain = {name.rpartition("}")[2] for element in elements for name in element.attrib}
        assert plain <= ATTRIBUTES, plain - ATTRIBUTES
        assert root.get("stroke-linejoin") == "round"
        ids = [element.get("id") for element in elements if element.get("id")]
        used = set(re.findall(r'(?:url\(|href=")#([^)"]*)', svg))
        assert set(ids) == used
        assert len(ids) == len(used)
    assert "data:image/png;base64," in pictures[1]
    assert "url(#shares-0-" in pictures[2]  # the hatch


FILE = f"""<?xml version="1.0"?>
<svg xmlns="{SVG}" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 1 1">
 <metadata>made by</metadata><defs><style type="text/css">*{{fill: red}}</style></defs>
 <path id="m1" d="M 0 0
L 1 1
" style="stroke: #ff0000; stroke-width: 2"/>
 <path id="unused" d="M 0 0" style="fill: url(#m1)"/>
 <use xlink:href="#m1"/>
 <text style="font: bold 9px 'DejaVu Sans', sans-serif; fill: blue">a &lt;b&gt; \x01id="m1"</text>
</svg>"""


def test_an_embedded_svg_by_hand():
    assert embedded(FILE, r"a\d", '"label"') == (
        f'<svg viewBox="0 0 1 1" stroke-linejoin="round" stroke-linecap="butt" xmlns="{SVG}" role="img" '
        r'aria-label="&quot;label&quot;"><defs />'
        r'<path id="a\d-m1" d="M 0 0 L 1 1" stroke="#ff0000" stroke-width="2" />'
        r'<path d="M 0 0" fill="url(#a\d-m1)" /><use href="#a\d-m1" />'
        '<text fill="blue" font-weight="bold" font-size="9px" font-family="\'DejaVu Sans\', sans-serif">'
        'a &lt;b&gt; \ufffdid="m1"</text></svg>'
    )
