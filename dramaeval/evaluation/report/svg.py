"""Converts matplotlib's SVG files to elements inside a page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from markupsafe import Markup

from dramaeval.evaluation.report.markup import printable

SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
# matplotlib 3.10 writes "font: bold 9px 'DejaVu Sans', sans-serif"; later versions write separate properties.
_FONT = re.compile(r"(?:(italic|oblique) )?(?:(bold|\d+) )?([\d.]+px) (.*)")
_DROPPED = {"metadata", "style"}


def embedded(file: str, name: str, label: str) -> Markup:
    """Make an element of a page from an SVG file, with ids that are unique on the page.

    Styles become attributes, because the security policy of the page forbids inline styles.

    Args:
        file: the text of the SVG file.
        name: a name that is unique on the page; the prefix of all ids in the element.
        label: description for screen readers.
    """
    root = ElementTree.fromstring(printable(file[file.index("<svg") :]))
    for parent in root.iter():
        for child in [child for child in parent if _local(child.tag) in _DROPPED]:
            parent.remove(child)
    used = {reference for element in root.iter() for reference in _references(element)}
    for element in root.iter():
        element.tag = _local(element.tag)
        if element.tag != "text":
            element.text = None
        element.tail = None
        element.attrib = _attributes(element, name, used)
    # matplotlib sets these two properties in a style sheet, which is dropped.
    root.attrib |= {"stroke-linejoin": "round", "stroke-linecap": "butt"}
    root.attrib |= {"xmlns": SVG, "role": "img", "aria-label": label}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _references(element: ElementTree.Element) -> list[str]:
    references = [name for value in element.attrib.values() for name in _REFERENCE.findall(value)]
    link = element.get(_LINK, "")
    return [*references, link[1:]] if link.startswith("#") else references


def _attributes(element: ElementTree.Element, name: str, used: set[str]) -> dict[str, str]:
    attributes: dict[str, str] = {}
    for key, value in element.attrib.items():
        if key == "id":
            attributes |= {"id": f"{name}-{value}"} if value in used else {}
        elif key == _LINK:
            link = "".join(value.split())
            attributes["href"] = f"#{name}-{link[1:]}" if link.startswith("#") else link
        elif key == "style":
            attributes |= _styles(value)
        else:
            attributes[_local(key)] = " ".join(value.split())

    def prefixed(reference: re.Match[str]) -> str:
        return f"url(#{name}-{reference[1]})"

    return {key: _REFERENCE.sub(prefixed, value) for key, value in attributes.items()}


def _styles(declared: str) -> dict[str, str]:
    styles = {}
    for declaration in filter(None, map(str.strip, declared.split(";"))):
        key, _, value = declaration.partition(":")
        styles[key.strip()] = value.strip()
    if font := _FONT.fullmatch(styles.pop("font", "")):
        parts = zip(
            ("font-style", "font-weight", "font-size", "font-family"), font.groups(), strict=True
        )
        styles |= {key: value for key, value in parts if value}
    return styles
