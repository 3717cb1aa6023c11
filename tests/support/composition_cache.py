"""Composes the files of ``configs/`` once per choice of groups; most tests change single values alone.

Composing takes half a second, nearly all of it for reading and merging the same files. Hydra applies the values of a
command to a copy of the merged files, as it does to the merged files themselves.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import wraps
from typing import Any

from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from omegaconf import DictConfig
from repository import ROOT

Key = tuple[Any, ...]
_lists: dict[Key, DefaultsList] = {}
_merged: dict[Key, DictConfig] = {}


def _sources(repo: IConfigRepository) -> Key | None:
    """The search path; None where files of a test are on it, since they may change."""
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
        # Hydra has objects of their own for values, which have no part in the list.
        values = {id(each) for each in given.config_overrides}
        groups = [each.input_line for each in overrides_list if id(each) not in values]
        key = (sources, *groups, *more.values())
        if key not in _lists:
            _lists[key] = create(repo=repo, overrides_list=overrides_list, **more)
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
            _merged[key] = merge(loader, defaults=defaults, repo=repo)
        return copy.deepcopy(_merged[key])

    return merge_or_copy


def install() -> None:
    """Use the cache in this process; processes that it starts compose anew."""
    config_loader_impl.create_defaults_list = _kept_lists(config_loader_impl.create_defaults_list)
    ConfigLoaderImpl._compose_config_from_defaults_list = _kept_merges(
        ConfigLoaderImpl._compose_config_from_defaults_list
    )
