"""The arguments of a class or function, read from its source without importing it.

Importing TRL or PEFT takes ten seconds, because they import PyTorch. Reading the source reports a misspelt key at once.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

_Definition = ast.ClassDef | ast.FunctionDef
#: Base classes without arguments.
_PLAIN_BASES = frozenset({"ABC", "BaseModel", "Enum", "Generic", "Mapping", "Protocol", "object"})
#: The greatest number of modules in which a name is looked up, since the imports of a package may form a circle.
_MOST_STEPS = 20


class _UnknownError(Exception):
    """The source does not define the arguments."""


@lru_cache(maxsize=64)
def arguments_in_source(target: str) -> tuple[str, ...] | None:
    """The arguments of the class or function that a ``_target_`` names, without an import of its package.

    Args:
        target: the full name, like ``trl.SFTConfig``.

    Returns:
        the names, in which ``**kwargs`` is replaced by the arguments of the base classes, without ``args``; None if
        the source does not define them, as for a class in C or a class that a function returns.
    """
    module, _, name = target.rpartition(".")
    try:
        arguments = dict.fromkeys(_arguments(*_find(module, name)))
        return tuple(name for name in arguments if name != "args")
    except (_UnknownError, OSError, SyntaxError, UnicodeDecodeError, RecursionError):
        return None


def _arguments(module: str, definition: _Definition) -> Iterator[str]:
    """The arguments of a definition; raises _UnknownError if a base class cannot be found."""
    if isinstance(definition, ast.FunctionDef):
        names, open_ended = _parameters(definition)
        if open_ended:
            raise _UnknownError
        yield from names
        return
    methods = [node for node in definition.body if isinstance(node, ast.FunctionDef)]
    constructor = next((node for node in methods if node.name in ("__init__", "__new__")), None)
    if constructor is not None:
        names, open_ended = _parameters(constructor)
        yield from names[1:]
        if not open_ended:
            return
    for where, base in _bases(module, definition):
        yield from _arguments(where, base)
    if constructor is not None:
        return
    decorators = map(ast.unparse, definition.decorator_list)
    if any("dataclass" in decorator for decorator in decorators) or _is_model(module, definition):
        yield from _fields(definition)


def _bases(module: str, definition: ast.ClassDef) -> Iterator[tuple[str, _Definition]]:
    """The definitions of the base classes that have arguments, each with its module."""
    for base in definition.bases:
        text = ast.unparse(base).partition("[")[0]
        if text.rpartition(".")[2] not in _PLAIN_BASES:
            yield _find(module, text)


def _is_model(module: str, definition: ast.ClassDef) -> bool:
    """Whether a class is a pydantic model, whose annotated names are arguments."""
    if any(ast.unparse(base).rpartition(".")[2] == "BaseModel" for base in definition.bases):
        return True
    bases = _bases(module, definition)
    return any(isinstance(base, ast.ClassDef) and _is_model(where, base) for where, base in bases)


def _parameters(function: ast.FunctionDef) -> tuple[list[str], bool]:
    """The parameters of a function, and whether it takes any further keyword."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [argument.arg for argument in named], arguments.kwarg is not None


def _fields(definition: ast.ClassDef) -> Iterator[str]:
    """The fields of a dataclass or of a pydantic model, including the aliases of a model's fields."""
    for node in definition.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        value = ast.unparse(node.value) if node.value else ""
        if "ClassVar" not in ast.unparse(node.annotation) and "init=False" not in value:
            yield node.target.id
            keywords = node.value.keywords if isinstance(node.value, ast.Call) else []
            for keyword in keywords:
                if keyword.arg == "alias" and isinstance(keyword.value, ast.Constant):
                    yield str(keyword.value.value)


def _find(module: str, name: str) -> tuple[str, _Definition]:
    """The definition of a name, and its module, from which the given module may import it."""
    for _ in range(_MOST_STEPS):
        tree, first = _tree(module), name.partition(".")[0]
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
                return module, node
        module, name = _imported(module, tree, first, name)
    raise _UnknownError


def _imported(module: str, tree: ast.Module, first: str, name: str) -> tuple[str, str]:
    """The module that a name is imported from, and the name in that module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == first:
                    origin, rest = _origin(module, node), name.partition(".")[2]
                    return (f"{origin}.{alias.name}", rest) if rest else (origin, alias.name)
        elif isinstance(node, ast.Import) and "." in name:
            for alias in node.names:
                if (alias.asname or alias.name) == name.rpartition(".")[0]:
                    return alias.name, name.rpartition(".")[2]
    raise _UnknownError


def _origin(module: str, node: ast.ImportFrom) -> str:
    """The full name of the module that an import statement names."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    is_package = _file(module).name == "__init__.py"
    kept = parts[: len(parts) - node.level + is_package]
    return ".".join([*kept, *([node.module] if node.module else [])])


@lru_cache(maxsize=64)
def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text(encoding="utf-8"))


@lru_cache(maxsize=256)
def _file(module: str) -> Path:
    """The source file of a module; raises _UnknownError if there is none."""
    top, *rest = module.split(".")
    loaded = sys.modules.get(top)
    try:
        spec = getattr(loaded, "__spec__", None) or find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise _UnknownError
    if not rest and spec.origin and spec.origin.endswith(".py"):
        return Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *rest)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    raise _UnknownError
