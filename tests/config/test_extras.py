"""A setting whose package is not installed is reported in one line with the install command."""

import tomllib

import pytest
from repository import ROOT

from dramaeval.config import extras
from dramaeval.config.extras import missing_package


def test_each_package_is_installed_by_its_extra():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for package, extra in extras._EXTRA.items():
        needs = declared["optional-dependencies"][extra]
        assert any(need.startswith(package.replace("_", "-")) for need in needs), package


def test_a_setting_names_its_missing_package(composed, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    settings = composed("peft=qlora", "zero=zero2", "logger=wandb")
    lines = [line for line in extras.problems(settings) if "not installed" in line]
    assert lines == [
        "quantization needs the package bitsandbytes, which is not installed: "
        "pip install 'dramaeval[quantization]'",
        "zero needs the package deepspeed, which is not installed: pip install 'dramaeval[deepspeed]'",
        "logger=wandb needs the package wandb, which is not installed: pip install 'dramaeval[wandb]'",
    ]


def test_an_installed_package_is_not_reported():
    assert missing_package("deepspeed", "zero") is None


def test_a_plugin_without_its_package_ends_with_the_message(monkeypatch):
    from hydra_plugins.dramaeval_sweeps import Slurm

    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"Slurm needs the package submitit.*dramaeval\[slurm\]"):
        Slurm()
