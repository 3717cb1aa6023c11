"""``import dramaeval`` loads no heavy library; a name is imported when it is used."""

import subprocess
import sys

import pytest

import dramaeval


def test_the_import_is_light():
    code = (
        "import sys, dramaeval\n"
        "heavy = [n for n in ('torch', 'transformers', 'numpy', 'hydra', 'peft') if n in sys.modules]\n"
        "print(heavy, dir(dramaeval))"
    )
    words = [sys.executable, "-c", code]
    output = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert output.startswith("[] ['AudioDataset', ")
    assert "'SFTTrainer'" in output


def test_every_public_name_has_a_docstring_and_others_are_refused():
    for name in dramaeval.__all__:
        assert getattr(dramaeval, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'Jugde'"):
        dramaeval.Jugde  # noqa: B018 - looking it up is what fails
