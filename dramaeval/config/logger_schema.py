"""The settings of ``logger``, a part of `dramaeval.config.schema`."""

from __future__ import annotations

from dataclasses import dataclass

from dramaeval.config.fields import setting


@dataclass(kw_only=True)
class WandbConfig:
    """``logger.wandb``: Weights & Biases."""

    enabled: bool = setting(False, help="log to Weights & Biases; logger=wandb sets it")
    mode: str = setting(
        "auto",
        help="auto: online if a key is known (WANDB_API_KEY or wandb login), else offline",
        choices=("auto", "online", "offline"),
    )
    project: str = setting("dramaeval", help="project")
    entity: str | None = setting(None, help="team; null: your account")
    name: str | None = setting(None, help="name of the run; null: the end of the run folder's path")
    group: str | None = setting(None, help="group of runs")
    tags: list[str] = setting([], help="tags of the run")


@dataclass(kw_only=True)
class LoggerConfig:
    """``logger``: training curves, in addition to the files of the run folder."""

    tensorboard: bool = setting(
        False, help="write TensorBoard files to the run folder's tensorboard/"
    )
    wandb: WandbConfig = setting(WandbConfig, help="Weights & Biases")
    mlflow: bool = setting(False, help="log to MLflow; variables MLFLOW_* set the target")
    trackio: bool = setting(False, help="log to Trackio")
    swanlab: bool = setting(False, help="log to SwanLab; variables SWANLAB_* set the target")
    comet: bool = setting(False, help="log to Comet; variables COMET_* set the target")
