"""The settings of an importer's file under ``configs/importer``, without Hydra."""

import yaml
from repository import ROOT


def preset(name):
    values = yaml.safe_load((ROOT / "configs" / "importer" / f"{name}.yaml").read_text("utf-8"))
    further = {}
    for base in values.pop("defaults", []):
        if base != "_self_":
            further |= preset(base)
    return further | values
