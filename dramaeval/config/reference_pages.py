"""Generates the reference pages of all settings and groups as Markdown.

``docs/hooks.py`` adds the pages to the documentation site; ``python -m dramaeval.config.reference_pages`` prints them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from omegaconf import MISSING

from dramaeval.config.config_folder import config_folder
from dramaeval.config.fields import Setting, default_text, node_description, settings_of
from dramaeval.config.schema import Root
from dramaeval.config.sweep_options import OPTIONS

SETTINGS, GROUPS = "reference/settings.md", "reference/groups.md"

_SETTINGS_HEAD = """# Settings

Every setting of dramaeval, generated from `dramaeval/config/schema.py` and `dramaeval/config/sweep_options.py`. Give a
setting on the command line as `KEY=VALUE`. `null` means: no value. The defaults are those of the schema; the file of a
chosen group can set another value, for example `peft=lora` sets `peft`.

`peft.*`, `quantization.*` and `zero.*` are arguments of PEFT, transformers and DeepSpeed; these libraries' classes may
take more. Further arguments, those of `trainer.args.*`, tasks and models are in the files of their groups: see
[groups](groups.md). An unknown key is an error that lists near matches.
"""
_GROUPS_HEAD = """# Groups

A group is a folder under `configs/`. `GROUP=CHOICE` on the command line takes the settings of one of its files. This
page shows every file with its comments. `python launch.py --cfg job --resolve` prints a composed configuration,
and `--info defaults-tree` shows which file each part comes from.
"""


def pages() -> dict[str, str]:
    """The generated pages: Markdown by path inside ``docs/``."""
    return {SETTINGS: settings_page(), GROUPS: groups_page()}


def settings_page() -> str:
    """The page of all settings, with a table for each node of the schema, each launcher and each sweeper."""
    sections = [_SETTINGS_HEAD, *_sections(Root, "")]
    for (group, _), options in OPTIONS.items():
        sections += _sections(options, group.replace("/", "."))
    return "\n".join(sections)


def groups_page() -> str:
    """The page of all files of the configuration folder, with their comments."""
    folder = config_folder()
    parts = [_GROUPS_HEAD, _listing("launch.yaml", folder / "launch.yaml")]
    for group, files in _groups(folder):
        rows = [f"| `{group}={file.stem}` | {_cell(_summary(file))} |" for file in files]
        parts.append(_table(f"## {group}", ("choice", "meaning"), rows))
        parts += [_listing(f"{group}/{file.name}", file) for file in files]
    return "\n".join(parts)


def _sections(schema: type, where: str) -> Iterator[str]:
    """The section of a node, then the sections of its nested nodes; the node's docstring is "KEY: description"."""
    settings = settings_of(schema)
    key, _, description = node_description(schema).partition(": ")
    heading = "## Top level"
    if description:
        heading = f"## `{key}`\n\n{description[:1].upper()}{description[1:]}"
    rows = [_row(setting, where) for setting in settings.values() if not setting.nested]
    yield _table(heading, ("setting", "default", "values", "meaning"), rows)
    for name, setting in settings.items():
        if setting.nested:
            yield from _sections(setting.nested, f"{where}.{name}" if where else name)


def _row(setting: Setting, where: str) -> str:
    key = f"{where}.{setting.key}" if where else setting.key
    default = f"`{default_text(setting.default)}`"
    if setting.default in (MISSING, {}):
        default = "required" if setting.default else "empty"
    cells = map(_cell, (f"`{key}`", default, setting.expected, setting.help))
    return f"| {' | '.join(cells)} |"


def _table(heading: str, columns: tuple[str, ...], rows: list[str]) -> str:
    titles, line = " | ".join(columns), " | ".join("---" for _ in columns)
    return "\n".join([f"{heading}\n", f"| {titles} |", f"| {line} |", *rows, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _groups(folder: Path) -> Iterator[tuple[str, list[Path]]]:
    for group in sorted(path for path in folder.rglob("*") if path.is_dir()):
        name = group.relative_to(folder).as_posix()
        if (files := sorted(group.glob("*.yaml"))) and name != "hydra/help":
            yield name, files


def _listing(name: str, file: Path) -> str:
    """A collapsed block that shows a file."""
    lines = file.read_text(encoding="utf-8").rstrip().splitlines()
    body = "\n".join(f"    {line}".rstrip() for line in ["```yaml", *lines, "```"])
    return f'??? note "configs/{name}"\n\n{body}\n'


def _summary(file: Path) -> str:
    """The first sentence of the comment at the top of a file."""
    words = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            words.append(line.removeprefix("#").strip())
    return " ".join(words).partition(". ")[0].rstrip(".")


if __name__ == "__main__":
    print("\n".join(pages().values()), end="")
