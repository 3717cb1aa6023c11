"""The one place where texts become markup: HTML pages under a content policy, and Markdown.

Names, titles, keys, paths and texts come from rubrics, records and folders that others may have written. No
other module builds HTML; `svg.py` builds the pictures' elements, through an XML writer.
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

# Control characters, halves of surrogate pairs and non-characters: in no valid XML or UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# What Markdown reads as formatting, HTML, a link or mathematics, wherever it stands.
_MARKDOWN = re.compile(
    r"[\\`*|~<>$]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|(?<=\])[(\[:]|^[#+-](?=[#\s])"
)
_ENTITIES = frozenset("<>&$([:")  # Not every reader of Markdown knows these behind a backslash.


def render_page(template: str, context: Mapping[str, Any], *, style: str, script: str = "") -> str:
    """An HTML page: everything in ``context`` is escaped, and a name that the template lacks is an error.

    The page's own style and script are the only ones that a browser applies or runs: its policy names them by
    their hashes. It loads nothing but pictures and sounds that it holds itself.

    Args:
        template: a file in ``templates``.
        context: the template's variables.
        style: the style sheet, a file in ``templates``.
        script: the script, a file in ``templates``; none where it is empty.
    """
    from markupsafe import Markup

    sheet, code = _static(style), _static(script) if script else ""
    own = {"style": Markup(sheet), "script": Markup(code), "policy": policy(sheet, code)}
    return printable(_environment().get_template(template).render({**context, **own}))


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
    # Loaded where a page is made: Markdown, which every run writes, needs none of it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def printable(text: str) -> str:
    """The text with U+FFFD for every character that neither XML nor UTF-8 allows."""
    return _UNPRINTABLE.sub("\ufffd", text)


def shortened(text: str, most: int) -> str:
    """The text, or its beginning and how much is left out."""
    if len(text) <= most:
        return text
    return f"{text[:most]} … ({len(text) - most:,} more characters)"


def in_markdown(value: object) -> str:
    """A value's text as Markdown shows it literally, on one line: for a cell, a heading, a list's item."""
    line = " ".join(printable(str(value)).splitlines())
    return _MARKDOWN.sub(lambda found: _literal(found[0]), line)


def _literal(character: str) -> str:
    return f"&#{ord(character)};" if character in _ENTITIES else f"\\{character}"
