"""Additional pretraining voices beside the sixteen of the synthesiser's pretraining split.

A tower trained on two voices of a kind confuses their timbre with the kind. So every variant of espeak-ng
that the split has is used at every age, and some more are added; none is one of the sample's, or
nearly one (measured by the lines that two variants' files share).
"""

from __future__ import annotations

import numpy as np

from recipes.sample.voices import VOICES, Voice

#: Age, usual pitch in Hz and factor on the formants, by sex; as the synthesiser has them.
_KINDS = {
    "woman": (
        ("child", 300.0, 1.20),
        ("teenager", 245.0, 1.08),
        ("adult", 200.0, 1.00),
        ("elderly", 172.0, 0.95),
    ),
    "man": (
        ("child", 240.0, 1.35),
        ("teenager", 165.0, 1.12),
        ("adult", 112.0, 1.00),
        ("elderly", 97.0, 0.94),
    ),
}
#: espeak-ng's variants with the pitch lines of their files.
_WOMEN = {
    "f2": (142, 220),
    "f3": (140, 240),
    "f4": (142, 200),
    "f5": (160, 228),
    "anika": (200, 300),
    "Andrea": (200, 265),
    "belinda": (200, 247),
    "linda": (200, 247),
}
_MEN = {
    "Nguyen": (95, 175),
    "Henrique": (70, 130),
    "Hugo": (70, 130),
    "Reed": (85, 135),
    "robert": (65, 115),
    "miguel": (80, 130),
    "m1": (75, 109),
    "m3": (80, 122),
    "m4": (70, 110),
    "m7": (75, 125),
    "antonio": (82, 128),
    "marcelo": (65, 115),
    "travis": (75, 120),
    "iven": (74, 118),
    "Diogo": (82, 122),
}
#: Variants made for men that reach a boy's pitch, and, with shorter formants, a woman's.
_HIGH = ("Nguyen", "Henrique", "Hugo", "Reed", "robert", "miguel")
_WOMANLY = 1.15
#: Speakers of a kind differ by up to this much in pitch and formants.
_PITCH_SPREAD, _SIZE_SPREAD = 0.06, 0.03


def _variants(sex: str, age: str) -> dict[str, tuple[int, int]]:
    """The variants that can speak as somebody of that sex and age."""
    high = {name: _MEN[name] for name in _HIGH}
    if sex == "man":
        return high if age == "child" else _MEN
    return {**_WOMEN, **high} if age in ("adult", "elderly") else _WOMEN


def more_voices() -> dict[str, Voice]:
    """The further voices by key; the same ones every time."""
    rng = np.random.default_rng(0x101CE)
    voices = {}
    for sex, kinds in _KINDS.items():
        for age, pitch, size in kinds:
            for variant, span in _variants(sex, age).items():
                borrowed = _WOMANLY if sex == "woman" and variant in _MEN else 1.0
                voices[f"{age}_{sex}_{variant}_too"] = Voice(
                    sex=sex,
                    age=age,
                    split="pretraining",
                    variant=variant,
                    variant_pitch=(float(span[0]), float(span[1])),
                    base_pitch=pitch * (1 + rng.uniform(-_PITCH_SPREAD, _PITCH_SPREAD)),
                    size=size * borrowed * (1 + rng.uniform(-_SIZE_SPREAD, _SIZE_SPREAD)),
                )
    return voices


def admit_more_voices() -> None:
    """Let the synthesiser speak with them, in this process; calling it twice does no harm."""
    VOICES.update(more_voices())
