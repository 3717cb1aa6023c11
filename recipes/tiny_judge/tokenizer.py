"""The tiny judge's tokenizer: a byte-level BPE with Qwen2's pre-tokenisation and special tokens.

Bytes are the alphabet, so no text is unknown; the merges are learnt from the rubrics, the prompts
and the pretraining texts, which keeps those prompts short. Qwen2's pattern takes digits one by one,
so every score is one token and no merge can swallow it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2TokenizerFast
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

END_OF_TEXT = "<|endoftext|>"
START_OF_TURN = "<|im_start|>"
END_OF_TURN = "<|im_end|>"
AUDIO_TOKEN = "<|AUDIO|>"
AUDIO_START = "<|audio_bos|>"
AUDIO_END = "<|audio_eos|>"
#: In Qwen2-Audio's order; they stand after the merges, at the end of the vocabulary.
SPECIAL_TOKENS = (END_OF_TEXT, START_OF_TURN, END_OF_TURN, AUDIO_TOKEN, AUDIO_START, AUDIO_END)


def _learn_merges(corpus: Iterable[str], size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Learn vocabulary and merges of at most ``size`` entries from ``corpus``."""
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.NFC()
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    learner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    learner.train_from_iterator(corpus, trainer)
    state = json.loads(learner.to_str())["model"]
    return state["vocab"], [tuple(pair) for pair in state["merges"]]


def train_tokenizer(corpus: Iterable[str], vocabulary: int) -> Qwen2TokenizerFast:
    """A Qwen2 tokenizer of at most ``vocabulary`` entries, special tokens included.

    Padding is on the left, so that plain ``generate`` continues every row of a batch.
    """
    vocab, merges = _learn_merges(corpus, vocabulary - len(SPECIAL_TOKENS))
    return Qwen2TokenizerFast(
        vocab=vocab,
        merges=merges,
        unk_token=None,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        model_max_length=8192,
        padding_side="left",
        extra_special_tokens=[
            token for token in SPECIAL_TOKENS if token not in (END_OF_TEXT, END_OF_TURN)
        ],
    )
