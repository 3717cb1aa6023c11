"""Renders HTML pages with a content security policy, and escapes text for Markdown.

Names, titles, keys, paths and texts come from rubrics, records and folders of other people and are not trusted.
No other module builds HTML; `svg.py` builds SVG elements with an XML writer.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")

# Control characters, lone surrogates and non-characters, which are not valid in XML or UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# Characters that Markdown interprets as formatting, HTML, a link or mathematics.
_MARKDOWN = re.compile(
    r"[\\`*|~<>$]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|(?<=\])[(\[:]|^[#+-](?=[#\s])"
)
_ENTITIES = frozenset("<>&$([:")  # Not every Markdown parser supports a backslash before these.


def render_page(
    template: str, context: Mapping[str, Any], *, style: str = "style.css", script: str = "sort.js"
) -> str:
    """Render an HTML page. All values in ``context`` are escaped; a variable that ``context`` lacks is an error.

    The content security policy allows only the page's style and script, by their hashes, and only images and sounds
    that are embedded in the page.

    Args:
        template: a file in ``templates``.
        context: the template's variables.
        style: the style sheet, a file in ``templates``.
        script: the script, a file in ``templates``; empty for none.
    """
    from markupsafe import Markup

    sheet, code = _static(style), _static(script) if script else ""
    variables = {"style": Markup(sheet), "script": Markup(code), "policy": policy(sheet, code)}
    return printable(_environment().get_template(template).render({**context, **variables}))


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy (level 2) of a page with this style sheet and this script."""
    sources = {
        "default-src": "'none'",
        "style-src": _hash(style),
        **({"script-src": _hash(script)} if script else {}),
        "img-src": "data:",
        "media-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in sources.items())


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _static(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    # Only pages need jinja2; Markdown, which every run writes, does not.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def printable(text: str) -> str:
    """The text with U+FFFD in place of characters that are not valid in XML or UTF-8."""
    return _UNPRINTABLE.sub("\ufffd", text)


def shortened(text: str, most: int) -> str:
    """The text, or its first ``most`` characters and the number of characters left out."""
    if len(text) <= most:
        return text
    return f"{text[:most]} … ({len(text) - most:,} more characters)"


def in_markdown(value: object) -> str:
    """Escape the text of a value for Markdown, on one line: for a cell, a heading or a list item."""
    line = " ".join(printable(str(value)).splitlines())
    return _MARKDOWN.sub(lambda match: _literal(match[0]), line)


def _literal(character: str) -> str:
    return f"&#{ord(character)};" if character in _ENTITIES else f"\\{character}"
