"""README and the documentation site: their commands run, their paths exist, their generated pages are complete."""

import json
import logging
import re
import shlex
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from repository import ROOT
from runnable_blocks import blocks_of, pages, run_page

from dramaeval.config import registration
from dramaeval.config.library_schema import PeftConfig, QuantizationConfig, ZeroConfig
from dramaeval.config.reference_pages import GROUPS, SETTINGS, groups_page, settings_page
from dramaeval.config.score_command import with_settings_of_score
from dramaeval.config.sweep_options import OPTIONS

WRITTEN = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs" / "guides").glob("*.md")),
    *(ROOT / "docs" / f"{name}.md" for name in ("index", "tutorial", "status")),
]  # fmt: skip
_PATH = re.compile(r"`((?:dramaeval|configs|tests|benchmarks|recipes|docs)/[\w/.-]*\w/?)`")
_MODULE = re.compile(r"\bdramaeval(?:\.[a-z_]\w*)+(?:\.[A-Z]\w*)?")
_LINK = re.compile(r"\]\(([^)#:\s]+?)(?:#[^)]*)?\)")


def launch_commands():
    """The overrides of each command of launch.py that `run_page` does not run, with the name of its page."""
    commands = {}
    for page in WRITTEN:
        ran = [block.text for block in blocks_of(page) if block.kind == "runnable"]
        for block in re.findall(
            r"```bash\n(.*?)\n```", page.read_text(encoding="utf-8"), re.DOTALL
        ):
            if block in ran:
                continue
            for line in block.replace("\\\n", " ").splitlines():
                command = re.search(r"(?:^|&& |\d )(?:python )?launch\.py (.*)", line)
                if command and "--help" not in line:
                    commands[command.group(1)] = page.name
    return commands


def without_sweep(word):
    """An override with only the first of its swept values."""
    key, _, value = word.partition("=")
    swept = "," in value and not value.startswith(("[", "{"))
    if value.startswith("range("):
        return f"{key}=0"
    return f"{key}={value.split(',')[0]}" if swept else word


def test_ci_runs_the_commands_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first, second = re.findall(r"```bash\n(pip install .*?)\n```", readme)
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace(" --quiet", "")
    assert first in script
    assert f"\n{second}\n" in script


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_paths_and_modules_that_a_page_names_exist(page):
    text = page.read_text(encoding="utf-8")
    missing = [path for path in _PATH.findall(text) if not (ROOT / path).exists()]
    for name in set(_MODULE.findall(text)):
        module, _, last = name.rpartition(".")
        if last[0].isupper():
            source = find_spec(module)
            assert source, f"{page.name} names the module {module}"
            assert f"class {last}" in Path(source.origin).read_text(encoding="utf-8"), name
        elif not any(_is_module(candidate) for candidate in (name, module)):
            missing.append(name)
    assert not missing, f"{page.name} names what does not exist: {missing}"


def _is_module(name):
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_links_between_pages_lead_to_files(page):
    generated = {ROOT / "docs" / SETTINGS, ROOT / "docs" / GROUPS}
    links = _LINK.findall(page.read_text(encoding="utf-8"))
    targets = [(page.parent / link).resolve() for link in links if not link.startswith("http")]
    assert [str(path) for path in targets if not path.exists() and path not in generated] == []


@pytest.mark.parametrize("command", launch_commands())
def test_a_command_of_the_pages_composes(command, composed):
    given = with_settings_of_score(shlex.split(command, comments=True))
    words = [without_sweep(word) for word in given]
    overrides = [word for word in words if not word.startswith("-") and "=" in word]
    assert composed(*(word for word in overrides if not word.endswith("=…")))


def test_the_settings_page_has_every_setting_launcher_and_sweeper_option():
    plain = OmegaConf.to_container(registration.root(), throw_on_missing=False)
    listed = set(re.findall(r"^\| `([\w.]+)` \|", settings_page(), re.MULTILINE))

    def leaves(node, where=""):
        for key, value in node.items():
            nested = isinstance(value, dict) and value
            yield from leaves(value, f"{where}{key}.") if nested else [f"{where}{key}"]

    def declared(node, where):
        for field in fields(node):
            inside = field.metadata.get("node")
            name = f"{where}.{field.name}"
            yield from declared(inside, name) if inside else [name]

    libraries = {"peft": PeftConfig, "quantization": QuantizationConfig, "zero": ZeroConfig}
    arguments = {name for where, node in libraries.items() for name in declared(node, where)}
    internal = {f"{node}._target_" for node in ("model", "task", "trainer", "peft", "quantization")}
    options = {
        f"{group.replace('/', '.')}.{name}"
        for (group, _), declared in OPTIONS.items()
        for name in declared.__annotations__
    }
    assert listed == ((set(leaves(plain)) - set(libraries)) | arguments | options) - internal


def test_the_groups_page_shows_every_file():
    files = {file.relative_to(ROOT).as_posix() for file in (ROOT / "configs").rglob("*.yaml")}
    shown = set(re.findall(r'"(configs/.*?\.yaml)"', groups_page()))
    assert shown == files - {"configs/hydra/help/dramaeval.yaml"}


def test_files_shown_in_the_guide_equal_the_files_of_the_repository():
    shown = re.compile(r"<!-- shows: (\S+)(?: ([^>\n]+))? -->\n```python\n(.*?)```\n", re.DOTALL)
    page = (ROOT / "docs" / "guides" / "extending.md").read_text(encoding="utf-8")
    blocks = shown.findall(page)
    assert len(blocks) == page.count("<!-- shows:") == 3
    for path, part, block in blocks:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert block in text if part else block == text, path
        assert block.startswith(part)


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path, caplog):
    build = pytest.importorskip("mkdocs.commands.build", reason="pip install 'dramaeval[docs]'")
    pytest.importorskip("mkdocstrings_handlers.python", reason="pip install 'dramaeval[docs]'")
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True)
    with caplog.at_level(logging.WARNING, "mkdocs"):
        build.build(config)
    assert [record.getMessage() for record in caplog.records if record.name == "mkdocs"] == []
    outside = re.compile(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)"')
    assert [page for page in tmp_path.rglob("*.html") if outside.search(page.read_text())] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run(page, tmp_path, make_clips, run_python):
    for split in ("train", "val", "test"):
        make_clips(split, 6)
    run_page(page, tmp_path, None if page.name == "README.md" else run_python)
    if page.name == "extending.md":
        metrics = json.loads((tmp_path / "extended" / "metrics.json").read_text())
        results = metrics["test"]["final"]["dimensions"]
        assert list(results) == ["warmth"]
        assert 0 <= results["warmth"]["within_one"] <= 1
        adapter = json.loads((tmp_path / "extended/model/adapter_config.json").read_text())
        assert adapter["peft_type"] == "LOHA"
        assert "confident" in (tmp_path / "extended" / "config.yaml").read_text()
        assert "0.1 × generous" in (tmp_path / "rewarded" / "train.log").read_text()
