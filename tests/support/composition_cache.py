"""Composes the files of ``configs/`` once per choice of groups, since most tests change single values only.

Composing takes half a second, mostly for reading and merging the same files. With this cache, Hydra applies the values
of a command to a copy of the merged files. Each file is parsed once, since PyYAML is slow and most files are part of
many compositions, and so is each word of a command. All processes of a test session share the merged files.
"""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, IConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig
from repository import ROOT

#: The variable with the folder in which the processes of a session share compositions.
FOLDER = "DRAMAEVAL_TESTS_COMPOSITIONS"

Key = tuple[Any, ...]
_lists: dict[Key, DefaultsList] = {}
_merged: dict[Key, bytes] = {}
_files: dict[Key, bytes] = {}
_words: dict[Key, bytes] = {}


def _shared(kind: str, key: Key, make: Callable[[], Any]) -> bytes:
    """The pickled value of a key, from the file of the first process that has made it."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return pickle.dumps(make())
    name = hashlib.sha256(repr(key).encode()).hexdigest()
    file = Path(folder) / f"{name}.{kind}"
    if file.is_file():
        return file.read_bytes()
    value = pickle.dumps(make())
    written = file.with_suffix(f".{os.getpid()}")
    try:
        written.write_bytes(value)
        written.replace(file)
    except OSError:  # a test of another account
        pass
    return value


def _sources(repo: IConfigRepository) -> Key | None:
    """The search path as a key; None if it has files of a test, which may change and are not cached."""
    sources = repo.get_sources()
    files = [source.path for source in sources if source.scheme() == "file"]
    own = all(path == str(ROOT / "configs") for path in files)
    return tuple(source.full_path() for source in sources) if own else None


def _kept_lists(create: Callable[..., DefaultsList]) -> Callable[..., DefaultsList]:
    @wraps(create)
    def create_or_take(
        *, repo: IConfigRepository, overrides_list: list[Any], **more: Any
    ) -> DefaultsList:
        sources = _sources(repo)
        if sources is None:
            return create(repo=repo, overrides_list=overrides_list, **more)
        given = Overrides(repo=repo, overrides_list=overrides_list)
        # Overrides of values are not part of the defaults list, so they are left out of the key.
        values = {id(each) for each in given.config_overrides}
        groups = [each.input_line for each in overrides_list if id(each) not in values]
        key = (sources, *groups, *more.values())
        if key not in _lists:
            make = partial(create, repo=repo, overrides_list=overrides_list, **more)
            _lists[key] = pickle.loads(_shared("list", key, make))
        kept = _lists[key]
        return DefaultsList(
            kept.defaults, kept.defaults_tree, given.config_overrides, kept.overrides
        )

    return create_or_take


def _kept_merges(merge: Callable[..., DictConfig]) -> Callable[..., DictConfig]:
    @wraps(merge)
    def merge_or_copy(
        loader: ConfigLoaderImpl, *, defaults: list[Any], repo: IConfigRepository
    ) -> DictConfig:
        sources = _sources(repo)
        if sources is None:
            return merge(loader, defaults=defaults, repo=repo)
        key = (sources, *map(repr, defaults))
        if key not in _merged:
            make = partial(merge, loader, defaults=defaults, repo=repo)
            _merged[key] = _shared("config", key, make)
        # Unpickling is faster than a deep copy.
        config: DictConfig = pickle.loads(_merged[key])
        return config

    return merge_or_copy


def _kept_files(load: Callable[..., ConfigResult]) -> Callable[..., ConfigResult]:
    @wraps(load)
    def load_or_copy(source: ConfigSource, config_path: str) -> ConfigResult:
        if source.scheme() == "file" and source.path != str(ROOT / "configs"):
            return load(source, config_path)  # files of a test may change
        key = (source.full_path(), source.provider, config_path)
        if key not in _files:
            _files[key] = pickle.dumps(load(source, config_path))
        # A new object each time: Hydra takes the defaults list out of it.
        result: ConfigResult = pickle.loads(_files[key])
        return result

    return load_or_copy


def _kept_words(parse: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(parse)
    def parse_or_copy(parser: OverridesParser, s: str, rule_name: str) -> Any:
        if "(" in s:  # a function, such as shuffle, may have another result at each call
            return parse(parser, s, rule_name)
        key = (s, rule_name)
        if key not in _words:
            _words[key] = pickle.dumps(parse(parser, s, rule_name))
        return pickle.loads(_words[key])

    return parse_or_copy


def _kept_sources(resolve: Callable[..., type[ConfigSource]]) -> Callable[..., type[ConfigSource]]:
    """Patch the source classes here: Hydra loads them as plugins, so they differ from the imported classes."""

    @wraps(resolve)
    def resolve_and_keep(registry: SourcesRegistry, scheme: str) -> type[ConfigSource]:
        source = resolve(registry, scheme)
        if scheme in ("file", "pkg") and not hasattr(source.load_config, "__wrapped__"):
            source.load_config = _kept_files(source.load_config)
        return source

    return resolve_and_keep


def _refer_to(caching: CachingConfigRepository, delegate: IConfigRepository) -> None:
    """Replace the constructor, which deep-copies all sources; Hydra never changes a source, so a reference suffices."""
    caching.delegate = copy.copy(delegate)
    caching.cache = {}


def install() -> None:
    """Use the cache in this process; forked processes inherit it, newly started ones do not."""
    SourcesRegistry.resolve = _kept_sources(SourcesRegistry.resolve)
    CachingConfigRepository.__init__ = _refer_to
    OverridesParser.parse_rule = _kept_words(OverridesParser.parse_rule)
    config_loader_impl.create_defaults_list = _kept_lists(config_loader_impl.create_defaults_list)
    ConfigLoaderImpl._compose_config_from_defaults_list = _kept_merges(
        ConfigLoaderImpl._compose_config_from_defaults_list
    )
