"""Private parts of Optuna."""

from __future__ import annotations

from typing import Any


def resume_trial(study: Any, number: int) -> Any:
    """The running trial with a number, so that another process can report values to it.

    Reaches: ``FrozenTrial._trial_id``.
    Why: `optuna.trial.Trial` needs the id in the storage, and a study returns frozen trials, which show numbers only.
    Since: Optuna 4.0.
    Remove when: a study can return a running trial.
    """
    import optuna

    return optuna.trial.Trial(study, study.trials[number]._trial_id)
