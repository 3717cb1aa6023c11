"""Each test that takes ``kind`` runs with every audio family."""

import pytest
import torch
from all_kinds import KINDS
from audio_kinds import TINY
from transformers import AutoTokenizer


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp(kind.name)
    kind.write(path, AutoTokenizer.from_pretrained(TINY))
    return path
