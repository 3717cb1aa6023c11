"""Private parts of Optuna."""

from __future__ import annotations

from typing import Any


def resume_trial(study: Any, number: int) -> Any:
    """The trial of a study with a number, to report values of it from another process.

    Reaches: ``FrozenTrial._trial_id``.
    Why: `optuna.trial.Trial` takes the id in the storage, and a study returns frozen trials with numbers only.
    Since: Optuna 4.0.
    Remove when: a study can return a trial that is running.
    """
    import optuna

    return optuna.trial.Trial(study, study.trials[number]._trial_id)
