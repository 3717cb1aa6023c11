"""What `dramaeval.compat.hydra` assumes about Hydra."""

from copy import deepcopy

from contracts import contract
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser

from dramaeval.compat import hydra as entries


def test_grid_jobs_are_all_combinations_of_values():
    overrides = OverridesParser.create().parse_overrides(["a=1,2", "b=x,'y z'", "c=3"])
    with contract(entries.grid_jobs):
        assert entries.grid_jobs(overrides) == [
            ["a=1", "b=x", "c=3"],
            ["a=1", "b='y z'", "c=3"],
            ["a=2", "b=x", "c=3"],
            ["a=2", "b='y z'", "c=3"],
        ]


def test_the_context_has_no_callbacks():
    loader = ConfigLoaderImpl(create_config_search_path(None))
    with contract(entries.context_of):
        context = entries.context_of(loader)
        assert context.config_loader is loader
        assert context.callbacks.callbacks == []


def test_copied_sources_share_the_store_and_readers_have_a_schema_of_their_own(monkeypatch):
    store = ConfigStore.instance()
    # Other tests may have called the function.
    monkeypatch.delitem(store.__dict__, "__deepcopy__", raising=False)
    monkeypatch.setitem(store.repo, "example.yaml", None)
    store.store(name="example", node={"sizes": [1]})

    def copied_store():
        repository = deepcopy(ConfigLoaderImpl(create_config_search_path(None)).repository)
        return repository.get_schema_source().store

    with contract(entries.share_schemas):
        assert copied_store() is not store
        monkeypatch.setitem(store.__dict__, "__deepcopy__", None)
        entries.share_schemas(store)
        assert copied_store() is store
        store.load("example.yaml").node.sizes.append(2)
        assert store.load("example.yaml").node.sizes == [1]
