"""The generated reference pages of settings and config groups."""

import re

from dramaeval.config.reference_pages import groups_page, settings_page


def test_a_row_has_the_setting_its_default_values_and_meaning():
    text = settings_page()
    assert (
        "| `report.phase` | `null` | one of zero_shot, final or null | phase that is compared; null: each run's "
        "last |"
    ) in text
    assert "| `model.path` | required |" in text
    assert "| `batch.global` | `null` |" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert all(len(re.split(r"(?<!\\)\|", row)) == 6 for row in rows)


def test_a_group_has_a_row_and_a_listing_for_each_file():
    text = groups_page()
    assert "| `peft=none` | Full fine-tuning: all weights are trained |" in text
    assert '??? note "configs/hydra/launcher/slurm.yaml"' in text
