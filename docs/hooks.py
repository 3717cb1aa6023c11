"""Hooks of MkDocs: add the generated pages, and show links to files outside ``docs/`` as paths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from dramaeval.config.reference import pages

_OUTSIDE = re.compile(r"\[([^\]\[]+)\]\((?:\.\./)+([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the reference pages that are generated from the schema and from ``configs/``."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Replace links that leave ``docs/`` by the path of the file: the site does not hold these files."""
    docs = Path(config.docs_dir)

    def shown(found: re.Match[str]) -> str:
        target = found.group(0).rpartition("(")[2].rstrip(")").partition("#")[0]
        file = (docs / page.file.src_uri).parent.joinpath(target).resolve()
        if file.is_relative_to(docs):
            return found.group(0)
        path = file.relative_to(docs.parent).as_posix()
        label = found.group(1).strip("`")
        return f"`{path}`" if label == path else f"{label} (`{path}`)"

    return _OUTSIDE.sub(shown, markdown)
