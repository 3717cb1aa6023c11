"""The cache of compositions that the tests use gives the same results as Hydra."""

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from repository import ROOT


def composed_with_hydra_node(overrides):
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("launch", overrides=overrides, return_hydra_config=True)
    return OmegaConf.to_container(config, throw_on_missing=False)


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=3", "+trainer.args.bf16=false", "~trainer.args.learning_rate"],
        ["peft=none", "task=archetype", "seed=3"],
        ["peft=none", "task=archetype", "seed=4", "hydra/launcher=slurm"],
    ],
    ids=" ".join,
)
def test_a_composition_from_the_cache_equals_one_without_it(composed, monkeypatch, overrides):
    composed()  # registers the schema
    cached = [composed_with_hydra_node(overrides) for _ in range(2)]
    create = config_loader_impl.create_defaults_list
    merge = ConfigLoaderImpl._compose_config_from_defaults_list
    monkeypatch.setattr(config_loader_impl, "create_defaults_list", create.__wrapped__)
    monkeypatch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge.__wrapped__)
    monkeypatch.setattr(OverridesParser, "parse_rule", OverridesParser.parse_rule.__wrapped__)
    sources = SourcesRegistry.instance().types
    for scheme in ("file", "pkg"):
        load = sources[scheme].load_config.__wrapped__
        monkeypatch.setattr(sources[scheme], "load_config", load)
    monkeypatch.setattr(SourcesRegistry, "resolve", SourcesRegistry.resolve.__wrapped__)
    expected = composed_with_hydra_node(overrides)
    assert cached == [expected, expected]
