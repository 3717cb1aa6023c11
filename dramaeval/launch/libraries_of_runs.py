"""Imports what most runs of a sweep need, in the server that `dramaeval.launch.forked_run` starts."""

from dramaeval.compat.bitsandbytes import without_compiler
from dramaeval.startup import without_collections

with without_compiler(), without_collections():
    import hydra  # noqa: F401 - loaded for the runs
    import scipy.stats  # noqa: F401 - loaded for the runs
    import torch.utils.tensorboard  # noqa: F401 - loaded for the runs

    import dramaeval.launch.sweeps.pruning
    import dramaeval.launch.worker
    import dramaeval.models.families.qwen2_audio
    import dramaeval.stages.evaluate
    import dramaeval.stages.pipeline
    import dramaeval.stages.report_html
    import dramaeval.stages.train
    import dramaeval.training.grpo.trainer
    import dramaeval.training.sft.trainer  # noqa: F401 - loaded for the runs
