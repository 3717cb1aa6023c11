"""Registers the schema with Hydra and the resolvers of the configuration with OmegaConf."""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, IntegerNode, OmegaConf

from dramaeval.config.config_folder import command_name
from dramaeval.config.fields import node_description, settings_text
from dramaeval.config.run_id import run_id
from dramaeval.config.schema import PACKAGE, Root
from dramaeval.config.sweep_options import OPTIONS


def root() -> DictConfig:
    """The schema as a configuration; it has no values of other libraries' settings."""
    node = OmegaConf.structured(Root)
    # These take any key without a `+`. An explicit flag survives the merging of configurations.
    importer = tuple(
        f"importer.{name}"
        for name in ("columns", "labels", "where", "patterns", "lookup", "joins", "splits")
    )
    for key in (
        *("model", "task", "trainer", "trainer.args", "peft", "quantization", "zero"),
        *importer,
    ):
        OmegaConf.set_struct(OmegaConf.select(node, key), False)
    OmegaConf.set_struct(node.batch, False)
    node.batch["global"] = IntegerNode(None)
    OmegaConf.set_struct(node.batch, None)
    return node


def register() -> None:
    """Register the schema with Hydra, and resolvers with OmegaConf.

    ``${package:…}`` is a path inside the installed package, ``${run_id:}`` the short id of the configuration,
    ``${command:}`` the name of the command, and ``${settings:}`` the part of ``--help`` about settings.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=root())
    # A launcher and a sweeper report unknown options themselves, together with their other problems.
    for (group, name), options in OPTIONS.items():
        node = OmegaConf.structured(options, flags={"struct": False})
        store.store(group=group, name=name, node=node)
    resolvers: dict[str, Any] = {
        "package": lambda relative: str(PACKAGE / relative),
        "command": command_name,
        "run_id": lambda *, _root_: run_id(_root_),
        # Hydra reads the help text as a `string.Template`.
        "settings": lambda: _help_text().replace("$", "$$"),
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def _help_text() -> str:
    """The settings of a run, then those of each launcher and sweeper."""
    texts = [settings_text(Root)]
    for (group, _), options in OPTIONS.items():
        settings = settings_text(options, group.replace("/", "."))
        texts.append(f"\n  {node_description(options)}\n{settings}")
    return "\n".join(texts)
