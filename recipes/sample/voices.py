"""The voices by sex and age: two of each kind in each of two splits that share no espeak-ng variant."""

from dataclasses import dataclass

SEXES = ("woman", "man")
AGES = ("child", "teenager", "adult", "elderly")
SPLITS = ("pretraining", "sample")


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One speaker.

    Attributes:
        sex: `woman` or `man` (girls and boys included).
        age: one of `AGES`.
        split: one of `SPLITS`.
        variant: espeak-ng's voice variant.
        variant_pitch: the variant's own low and high pitch in Hz, from its file.
        base_pitch: the speaker's usual pitch in Hz.
        size: factor on the formants, above 1 for a shorter vocal tract.
    """

    sex: str
    age: str
    split: str
    variant: str
    variant_pitch: tuple[float, float]
    base_pitch: float
    size: float


# (sex, age, base pitch in Hz, factor on the formants)
_KINDS = (
    ("woman", "child", 300.0, 1.20),
    ("woman", "teenager", 245.0, 1.08),
    ("woman", "adult", 200.0, 1.00),
    ("woman", "elderly", 172.0, 0.95),
    ("man", "child", 240.0, 1.35),
    ("man", "teenager", 165.0, 1.12),
    ("man", "adult", 112.0, 1.00),
    ("man", "elderly", 97.0, 0.94),
)

# Two variants for each kind, in the order of _KINDS, with the pitch line of their files. Chosen for
# a wide pitch range; variants that are one voice under two names stay in one split.
_VARIANTS = {
    "pretraining": (
        (("anika", 200, 300), ("f2", 142, 220)),
        (("f3", 140, 240), ("belinda", 200, 247)),
        (("f5", 160, 228), ("linda", 200, 247)),
        (("f4", 142, 200), ("Andrea", 200, 265)),
        (("Nguyen", 95, 175), ("miguel", 80, 130)),
        (("m3", 80, 122), ("antonio", 82, 128)),
        (("m7", 75, 125), ("m4", 70, 110)),
        (("m1", 75, 109), ("Henrique", 70, 130)),
    ),
    "sample": (
        (("zac", 240, 390), ("Alicia", 180, 275)),
        (("Annie", 120, 280), ("shelby", 100, 210)),
        (("f1", 140, 200), ("Marco", 100, 152)),
        (("grandma", 120, 230), ("steph", 166, 200)),
        (("ed", 90, 145), ("Jacky", 85, 130)),
        (("pablo", 82, 130), ("m6", 82, 117)),
        (("Michael", 75, 125), ("gustave", 80, 123)),
        (("m8", 65, 102), ("grandpa", 80, 120)),
    ),
}

# A woman's formants for a variant made for a man; none for a variant that is a child's already.
_OWN_SIZE = {"Marco": 1.15, "zac": 1.0}


def _voices() -> dict[str, Voice]:
    voices = {}
    for split, by_kind in _VARIANTS.items():
        for (sex, age, base_pitch, size), variants in zip(_KINDS, by_kind, strict=True):
            for turn, (variant, low, high) in enumerate(variants):
                # The second of a pair speaks a little higher, so that a pair is not one speaker.
                voices[f"{age}_{sex}_{variant}"] = Voice(
                    sex=sex,
                    age=age,
                    split=split,
                    variant=variant,
                    variant_pitch=(float(low), float(high)),
                    base_pitch=base_pitch * (0.97 if turn == 0 else 1.04),
                    size=_OWN_SIZE.get(variant, size),
                )
    return voices


VOICES: dict[str, Voice] = _voices()
"""All voices by key, e.g. `adult_woman_f5`."""


def voices_of(split: str) -> list[str]:
    """Keys of one split's voices, sorted.

    Raises:
        ValueError: unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}.")
    return sorted(key for key, voice in VOICES.items() if voice.split == split)
