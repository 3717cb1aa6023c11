"""The settings reference as Markdown."""

import re

from dramaeval.config import fields
from dramaeval.config.reference import settings_reference
from dramaeval.config.schema import Root
from dramaeval.config.sweep_options import SlurmOptions


def test_the_reference_has_one_row_for_each_setting_with_type_default_and_help():
    text = settings_reference()
    keys = [each.key for each in fields.all_settings(Root)]
    assert {"batch.global", "logger.wandb.mode", "task.data.on_bad"} <= set(keys)
    keys += [each.key for each in fields.all_settings(SlurmOptions, "hydra.launcher")]
    for key in keys:
        assert f"\n| `{key}` |" in text, key
    assert (
        "| `report.split` | one of val, test or null | `null` | split that is compared; null: test if all runs "
        "have it |"
    ) in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert all(len(re.split(r"(?<!\\)\|", row)) in (4, 6) for row in rows)


def test_the_reference_has_the_files_of_each_group():
    text = settings_reference()
    assert "| `none` | Full fine-tuning: every weight is trained. |" in text
    assert "### `hydra/launcher`" in text
