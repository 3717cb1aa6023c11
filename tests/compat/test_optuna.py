"""What `dramaeval.compat.optuna` assumes about Optuna."""

import pytest
from contracts import contract

from dramaeval.compat.optuna import resume_trial

optuna = pytest.importorskip("optuna", reason="pip install 'dramaeval[search]'")


def test_a_value_reported_by_a_resumed_trial_is_stored():
    study = optuna.create_study()
    study.ask()
    study.ask()
    with contract(resume_trial):
        resume_trial(study, 1).report(0.5, step=3)
        assert [trial.intermediate_values for trial in study.trials] == [{}, {3: 0.5}]
