"""Hooks of MkDocs: add the generated pages, and replace links to files outside ``docs/`` by their paths."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from dramaeval.config.reference_pages import pages

_OUTSIDE = re.compile(r"\[([^\]\[]+)\]\((?:\.\./)+([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the reference pages that are generated from the schema and from ``configs/``."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Replace links to files outside ``docs/``, which the site does not contain, by the paths of the files."""
    docs = Path(config.docs_dir)

    def path_of(link: re.Match[str]) -> str:
        target = link.group(0).rpartition("(")[2].rstrip(")").partition("#")[0]
        file = (docs / page.file.src_uri).parent.joinpath(target).resolve()
        if file.is_relative_to(docs):
            return link.group(0)
        path = file.relative_to(docs.parent).as_posix()
        label = link.group(1).strip("`")
        return f"`{path}`" if label == path else f"{label} (`{path}`)"

    return _OUTSIDE.sub(path_of, markdown)
