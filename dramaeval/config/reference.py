"""The reference of all settings as Markdown: ``python -m dramaeval.config.reference``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from omegaconf import MISSING

from dramaeval.config.composition import choices
from dramaeval.config.config_folder import config_folder
from dramaeval.config.fields import Setting, default_text, node_description, settings_of
from dramaeval.config.schema import Root
from dramaeval.config.sweep_options import OPTIONS


def settings_reference() -> str:
    """All settings with their types, limits, defaults and help, and the files of all groups.

    There is one section for each node of the schema, each launcher, each sweeper and each group.
    """
    sections = ["# Settings", *_sections(Root, "")]
    for (group, _), options in OPTIONS.items():
        sections += _sections(options, group.replace("/", "."))
    sections.append("## Groups")
    folders = sorted(path.name for path in config_folder().iterdir() if path.is_dir())
    hydra = ("hydra/launcher", "hydra/sweeper")
    for group in [*(name for name in folders if name != "hydra"), *hydra]:
        rows = [f"| `{name}` | {_cell(file_comment(group, name))} |" for name in choices(group)]
        sections.append(_table(f"### `{group}`", ("choice", "meaning"), rows))
    return "\n\n".join(sections) + "\n"


def file_comment(group: str, name: str) -> str:
    """The comment at the top of a group's file, on one line."""
    lines = Path(config_folder(), group, f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = []
    for line in lines:
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            comment.append(line.removeprefix("#").strip())
    return " ".join(comment)


def _sections(schema: type, where: str) -> Iterator[str]:
    """The section of a node, and those of the nodes in it. The docstring of a node is "KEY: description"."""
    settings = settings_of(schema)
    key, _, description = node_description(schema).partition(": ")
    heading = (
        f"## `{key}`\n\n{description[:1].upper()}{description[1:]}" if description else f"## {key}"
    )
    rows = [_row(each, where) for each in settings.values() if not each.nested]
    yield _table(heading, ("key", "type", "default", "meaning"), rows)
    for name, each in settings.items():
        if each.nested:
            yield from _sections(each.nested, f"{where}.{name}" if where else name)


def _table(heading: str, columns: Sequence[str], rows: Iterable[str]) -> str:
    titles, line = " | ".join(columns), " | ".join("---" for _ in columns)
    return "\n".join([f"{heading}\n", f"| {titles} |", f"| {line} |", *rows])


def _row(setting: Setting, where: str) -> str:
    key = f"{where}.{setting.key}" if where else setting.key
    default = f"`{default_text(setting.default)}`"
    if setting.default in (MISSING, {}):
        default = "required" if setting.default else "empty"
    return f"| `{key}` | {_cell(setting.expected)} | {_cell(default)} | {_cell(setting.help)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(settings_reference(), end="")
