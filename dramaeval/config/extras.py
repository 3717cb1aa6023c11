"""Optional packages, each with the extra of ``pyproject.toml`` that installs it."""

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

#: Loggers that transformers attaches: for each its name in ``report_to``, and the package that it needs.
INTEGRATIONS = {
    "mlflow": ("mlflow", "mlflow"),
    "trackio": ("trackio", "trackio"),
    "swanlab": ("swanlab", "swanlab"),
    "comet": ("comet_ml", "comet_ml"),
}


def report_to(config: DictConfig) -> list[str]:
    """The names in ``report_to`` of the loggers that transformers attaches to a run."""
    return [name for key, (name, _) in INTEGRATIONS.items() if config.logger[key]]


def missing_package(package: str, feature: str) -> str | None:
    """The message that a package is not installed, with the command that installs it; None if it is installed.

    Args:
        package: the name under which it is imported.
        feature: the setting or part of dramaeval that needs it.
    """
    if find_spec(package) is not None:
        return None
    return (
        f"{feature} needs the package {package}, which is not installed: "
        f"pip install 'dramaeval[{_EXTRA[package]}]'"
    )


def problems(config: DictConfig) -> list[str]:
    """A problem for each package that the settings of a run need and that is not installed."""
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
