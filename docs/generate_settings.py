"""Generate the reference pages of all settings from the schema and from the comments of ``configs/``.

``python docs/generate_settings.py`` prints both pages. The site generates them at build time (`docs/hooks.py`), so
they are never out of date.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dramaeval.config.fields import Setting, all_settings, default_text
from dramaeval.config.schema import Root

ROOT = Path(__file__).resolve().parents[1]
SETTINGS, GROUPS = "reference/settings.md", "reference/groups.md"

_SETTINGS_HEAD = """# Settings

Every setting of dramaeval, generated from `dramaeval/config/schema.py`. Give a setting on the command line as
`KEY=VALUE`. `null` means: no value. The defaults are those of the schema; the file of a chosen group can set another
value, for example `peft=lora` sets `peft`.

Arguments of other libraries (`peft.*`, `quantization.*`, `zero.*`, `trainer.args.*`) and of tasks and models are
in the files of their groups: see [groups](groups.md). An unknown key is an error that lists near matches.
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
    """The page of all settings of the schema, with one table for each node."""
    sections: dict[str, list[Setting]] = {}
    for setting in all_settings(Root):
        node, _, _ = setting.key.rpartition(".")
        sections.setdefault(node, []).append(setting)
    parts = [_SETTINGS_HEAD]
    for node, settings in sections.items():
        rows = "\n".join(map(_row, settings))
        title = f"`{node}`" if node else "Top level"
        parts.append(
            f"## {title}\n\n| setting | default | values | meaning |\n| --- | --- | --- | --- |\n{rows}\n"
        )
    return "\n".join(parts)


def _row(setting: Setting) -> str:
    default = "required" if setting.default == "???" else f"`{default_text(setting.default)}`"
    cells = (f"`{setting.key}`", default, setting.expected, setting.help)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def groups_page() -> str:
    """The page of all files under ``configs/``, with their comments."""
    parts = [_GROUPS_HEAD, _listing("launch.yaml", ROOT / "configs" / "launch.yaml")]
    for group, files in _groups():
        rows = "\n".join(f"| `{group}={file.stem}` | {_summary(file)} |" for file in files)
        parts.append(f"## {group}\n\n| choice | meaning |\n| --- | --- |\n{rows}\n")
        parts += [_listing(f"{group}/{file.name}", file) for file in files]
    return "\n".join(parts)


def _groups() -> Iterator[tuple[str, list[Path]]]:
    configs = ROOT / "configs"
    for folder in sorted(path for path in configs.rglob("*") if path.is_dir()):
        name = folder.relative_to(configs).as_posix()
        if (files := sorted(folder.glob("*.yaml"))) and name != "hydra/help":
            yield name, files


def _listing(name: str, file: Path) -> str:
    """A collapsed block with the content of a file."""
    lines = file.read_text(encoding="utf-8").rstrip().splitlines()
    body = "\n".join(f"    {line}".rstrip() for line in ["```yaml", *lines, "```"])
    return f'??? note "configs/{name}"\n\n{body}\n'


def _summary(file: Path) -> str:
    """The comment at the head of a file, as one line up to the first sentence's end."""
    words = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("# @package"):
            continue
        if not line.startswith("#"):
            break
        words.append(line.removeprefix("#").strip())
    return " ".join(words).partition(". ")[0].rstrip(".").replace("|", "\\|")


if __name__ == "__main__":
    print("\n".join(pages().values()))
