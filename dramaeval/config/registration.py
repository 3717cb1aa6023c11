"""Registers the schema with Hydra, and dramaeval's resolvers with OmegaConf."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, IntegerNode, OmegaConf, StringNode, open_dict

from dramaeval.compat.hydra import share_schemas
from dramaeval.config.config_folder import command_name
from dramaeval.config.fields import node_description, settings_text
from dramaeval.config.literal import literal
from dramaeval.config.problems import ConfigError
from dramaeval.config.run_id import run_id
from dramaeval.config.schema import PACKAGE, Root
from dramaeval.config.sweep_options import OPTIONS


def root() -> DictConfig:
    """The schema as a configuration, without values for other libraries' settings."""
    node = OmegaConf.structured(Root)
    # These nodes accept any key without a `+`. An explicit flag survives the merging of configurations.
    importer = ("columns", "labels", "where", "patterns", "lookup", "joins", "splits")
    libraries = ("trainer", "trainer.args", "peft", "quantization", "zero")
    keys = ("model", "task", "callbacks", "texts", *(f"importer.{name}" for name in importer))
    for key in (*keys, *libraries):
        OmegaConf.set_struct(OmegaConf.select(node, key), False)
    with open_dict(node.batch), open_dict(node):
        node.batch["global"] = IntegerNode(None)
        node["from"] = StringNode(None)
    return node


def node_of(schema: type, values: dict[str, Any]) -> DictConfig:
    """A node of the schema, such as ``task``, with plain values; it accepts any key, and ``${`` is plain text."""
    node = OmegaConf.structured(schema)
    OmegaConf.set_struct(node, False)
    return cast(DictConfig, OmegaConf.merge(node, literal(values)))


def require_schema(config: DictConfig) -> None:
    """Raise ConfigError for a configuration without the schema, such as the ``config.yaml`` of a run."""
    if OmegaConf.get_type(config) is not Root:
        raise ConfigError(
            "--config-name names a configuration without the schema of this package. To run again with the "
            f"settings of a run: {command_name()} from=RUN KEY=VALUE …, with the run folder for RUN."
        )


@cache
def register() -> None:
    """Register the schema with Hydra, and the resolvers with OmegaConf, once per process.

    ``${package:…}`` is a path inside the installed package, ``${run_id:}`` the short id of the configuration,
    ``${command:}`` the name of the command, and ``${settings:}`` the part of ``--help`` about settings.
    """
    store = ConfigStore.instance()
    share_schemas(store)
    store.store(name="schema", node=root())
    # Launchers and sweepers report unknown options themselves, together with their other problems.
    for (group, name), options in OPTIONS.items():
        node = OmegaConf.structured(options, flags={"struct": False})
        store.store(group=group, name=name, node=node)
    resolvers: dict[str, Any] = {
        "package": lambda relative: str(PACKAGE / relative),
        "command": command_name,
        # Hydra reads the help text as a `string.Template`.
        "settings": lambda: _help_text().replace("$", "$$"),
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)
    if not OmegaConf.has_resolver("run_id"):
        register_run_id(run_id)


def register_run_id(id_of: Callable[[DictConfig], str]) -> None:
    """Register ``${run_id:}`` with OmegaConf; without this call, `register` uses `run_id`."""
    OmegaConf.register_new_resolver("run_id", lambda *, _root_: id_of(_root_), replace=True)


def _help_text() -> str:
    """The settings of a run, then those of each launcher and sweeper."""
    texts = [settings_text(Root)]
    for (group, _), options in OPTIONS.items():
        settings = settings_text(options, group.replace("/", "."))
        texts.append(f"\n  {node_description(options)}\n{settings}")
    return "\n".join(texts)
