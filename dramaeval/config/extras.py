"""Packages of an optional part of dramaeval, by the extra of ``pyproject.toml`` that installs them."""

from __future__ import annotations

from importlib.util import find_spec

from omegaconf import DictConfig

from dramaeval.config.schema import Stage

_EXTRA = {
    "bitsandbytes": "quantization",
    "deepspeed": "deepspeed",
    "fastapi": "serve",
    "mistral_common": "voxtral",
    "openpyxl": "excel",
    "optuna": "search",
    "prometheus_client": "serve",
    "python_multipart": "serve",
    "submitit": "slurm",
    "uvicorn": "serve",
    "wandb": "wandb",
}

#: Loggers that transformers attaches itself: the name in its ``report_to``, and the package that each needs.
INTEGRATIONS = {
    "mlflow": ("mlflow", "mlflow"),
    "trackio": ("trackio", "trackio"),
    "swanlab": ("swanlab", "swanlab"),
    "comet": ("comet_ml", "comet_ml"),
}


def report_to(config: DictConfig) -> list[str]:
    """The loggers of a run that transformers attaches, by their names in ``report_to``."""
    return [name for key, (name, _) in INTEGRATIONS.items() if config.logger[key]]


def missing_package(package: str, feature: str) -> str | None:
    """The message for a feature whose package is not installed.

    Args:
        package: the name by which it is imported.
        feature: the setting or the part that needs it.

    Returns:
        one line that names the command; None if the package is installed.
    """
    if find_spec(package) is not None:
        return None
    return (
        f"{feature} needs the package {package}, which is not installed: "
        f"pip install 'dramaeval[{_EXTRA[package]}]'"
    )


def problems(config: DictConfig) -> list[str]:
    """The missing packages that the settings of a run need."""
    trains = Stage.train in config.stages
    needed = {
        "bitsandbytes": "quantization" if config.quantization else None,
        "deepspeed": "zero" if trains and config.zero else None,
        "wandb": "logger=wandb" if config.logger.wandb.enabled else None,
    }
    messages = [missing_package(package, feature) for package, feature in needed.items() if feature]
    messages += [
        f"logger={key} needs the package {package}, which is not installed: pip install {package.replace('_', '-')}"
        for key, (_, package) in INTEGRATIONS.items()
        if trains and config.logger[key] and find_spec(package) is None
    ]
    return [message for message in messages if message]
