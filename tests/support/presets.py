"""Reads the settings of an importer from ``configs/importer`` without Hydra."""

import yaml
from repository import ROOT


def preset(name):
    values = yaml.safe_load((ROOT / "configs" / "importer" / f"{name}.yaml").read_text("utf-8"))
    inherited = {}
    for base in values.pop("defaults", []):
        if base != "_self_":
            inherited |= preset(base)
    return inherited | values
