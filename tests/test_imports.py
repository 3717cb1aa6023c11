"""Imports go down only: no file imports from a package of a higher level, and there are no import cycles."""

import ast
import graphlib

import pytest
from repository import ROOT

#: The packages below dramaeval, from the highest level to the lowest; packages of one level may import each other.
LEVELS = (
    ("api", "launch", "cli", "serving"),
    ("stages",),
    ("training",),
    ("evaluation",),
    ("models",),
    ("importing",),
    ("tasks",),
    ("data",),
    ("config", "distributed", "compat", "startup", "errors", "version"),
)
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}
#: Folders of the repository that the package must not import.
OUTSIDE = {"recipes", "benchmarks", "tests", "launch"}


def modules():
    package = ROOT / "dramaeval"
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts).removesuffix(".__init__")] = path
    return names


def imported(path, names):
    """The imports of a file, also those in functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in names else node.module


def package_of(module):
    return [*module.split("."), ""][1]


def graph():
    names = modules()
    return {
        module: sorted(
            target for target in set(imported(path, names)) if target in names and target != module
        )
        for module, path in names.items()
    }


def test_every_package_has_a_level():
    packages = {package_of(module) for module in graph()} - {""}
    assert packages == set(LEVEL)


def test_a_package_imports_only_packages_below_it():
    upward = [
        f"{module} -> {target}"
        for module, targets in graph().items()
        for target in targets
        if package_of(module) in LEVEL
        and LEVEL.get(package_of(target), -1) < LEVEL[package_of(module)]
    ]
    assert upward == []


def test_there_are_no_import_cycles():
    """`graphlib.CycleError` names the files of a cycle. Imports of a package's ``__init__`` are left out."""
    edges = {
        module: [target for target in targets if not is_package(target)]
        for module, targets in graph().items()
    }
    list(graphlib.TopologicalSorter(edges).static_order())


def is_package(module):
    return (ROOT / module.replace(".", "/") / "__init__.py").is_file()


@pytest.mark.slow
def test_the_package_imports_nothing_from_recipes_benchmarks_or_tests():
    for module, path in modules().items():
        others = {target.split(".")[0] for target in imported(path, {})} & OUTSIDE
        assert not others, f"{module} imports {others}"


def test_parts_of_scipy_are_imported_when_they_are_used():
    """``import scipy`` loads its parts at their first use; ``from scipy.stats import …`` takes half a second at once."""
    for module, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        at_once = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
        assert not [name for name in at_once if name.startswith("scipy.")], module
