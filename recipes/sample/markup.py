"""Marks up a line for espeak-ng with stressed words and pauses."""

import re
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

_ENGLISH = (
    "a an the and or but so if of to in on at by for from with as than that this these those it "
    "its is are was were be been am do does did has have had will would can could shall should "
    "may might must i you he she we they me him her us them my your his our their there here who "
    "what when where which not no then just up out down into over all let im ill weve youre"
)
_ENGLISH_FUNCTION_WORDS = frozenset(_ENGLISH.split())
_MANDARIN_FUNCTION_CHARACTERS = frozenset(
    "的地得了着过我你他她它们这那在是就也都和把被吗呢吧啊会要能不没有还再又很给对从到个一来去"
)
_PAUSE_MARKS = ",;:，；：、…—-"
_END_MARKS = ".!?。！？"
_TOKEN = re.compile(r"[A-Za-z0-9'’]+|[\u4e00-\u9fff]|[^\sA-Za-z0-9'’\u4e00-\u9fff]")


@dataclass(frozen=True, kw_only=True)
class MarkedText:
    """SSML for one line.

    Attributes:
        ssml: the text with marks.
        stressed: character spans `[start, end)` in `ssml` of the stressed words.
    """

    ssml: str
    stressed: list[tuple[int, int]]


def marked_up(
    text: str,
    language: str,
    pauses: str,
    stress: str,
    pitch_range: float,
    rng: np.random.Generator,
) -> MarkedText:
    """Mark one line up.

    Stress makes key words longer (and higher, as far as the pitch range allows); misplaced stress
    hits function words hard and short. Broken pauses fall inside phrases, never at punctuation.

    Raises:
        ValueError: there is no word in the text.
    """
    tokens = _tokens(text, keep_pauses=pauses == "natural")
    words = [i for i, token in enumerate(tokens) if token[0].isalnum()]
    if not words:
        raise ValueError(f"There is no word to speak in {text!r}.")
    stressed = _stressed_words(tokens, words, language, stress, rng)
    breaks = _hesitations(tokens, words, stressed, rng) if pauses == "broken" else {}
    return _assemble(tokens, stressed, breaks, language, stress, pitch_range)


def _tokens(text: str, *, keep_pauses: bool) -> list[str]:
    kept = []
    tokens = _TOKEN.findall(text)
    for position, token in enumerate(tokens):
        if token[0].isalnum():
            kept.append(token)
        elif token in _PAUSE_MARKS:
            if keep_pauses and kept:
                kept.append(token)
        elif token in _END_MARKS and (keep_pauses or position == len(tokens) - 1):
            kept.append(token)
    return kept


def _is_function_word(token: str, language: str) -> bool:
    if language == "zh":
        return token in _MANDARIN_FUNCTION_CHARACTERS
    return re.sub(r"['’]", "", token.lower()) in _ENGLISH_FUNCTION_WORDS


def _stressed_words(
    tokens: list[str], words: list[int], language: str, stress: str, rng: np.random.Generator
) -> set[int]:
    if stress == "none":
        return set()
    function_words = [i for i in words if _is_function_word(tokens[i], language)]
    content_words = [i for i in words if i not in function_words]
    if stress == "misplaced":
        pool = function_words or words
        count = min(len(pool), max(2, len(words) // 4))
        return {int(i) for i in rng.choice(pool, size=count, replace=False)}
    pool = content_words or words
    if language == "zh":  # a word is mostly two characters: stress runs of two
        runs = [(i, i + 1) for i in pool if i + 1 in pool] or [(i, i) for i in pool]
        picks = rng.choice(len(runs), size=min(len(runs), max(1, len(words) // 7)), replace=False)
        return {i for pick in picks for i in runs[int(pick)]}
    longest = sorted(pool, key=lambda i: (-len(tokens[i]), i))
    return set(longest[: max(2, len(words) // 5)])


def _hesitations(
    tokens: list[str], words: list[int], stressed: set[int], rng: np.random.Generator
) -> dict[int, int]:
    """Word index → length in ms of the silence before it."""
    inner = [i for i in words[1:] if i - 1 in words and not (i in stressed and i - 1 in stressed)]
    count = min(len(inner), max(2, len(words) // 4))
    if not count:
        return {}
    places = rng.choice(inner, size=count, replace=False)
    return {int(place): int(rng.integers(260, 420)) for place in places}


def _assemble(
    tokens: list[str],
    stressed: set[int],
    breaks: dict[int, int],
    language: str,
    stress: str,
    pitch_range: float,
) -> MarkedText:
    pitch = round((10 if stress == "content" else 8) + 28 * pitch_range)
    pace = 62 if stress == "content" else 105
    opening = f'<prosody pitch="+{pitch}%" rate="{pace}%">'
    parts: list[str] = []
    spans = []
    length = 0

    def put(part: str) -> None:
        nonlocal length
        parts.append(part)
        length += len(part)

    for i, token in enumerate(tokens):
        if i in breaks:
            put(f'<break time="{breaks[i]}ms" strength="none"/>')
        is_word = token[0].isalnum()
        if parts and is_word and language != "zh":
            put(" ")
        if i in stressed:
            put(opening)
            start = length
            put(escape(token))
            spans.append((start, length))
            put("</prosody>")
        else:
            put(escape(token))
    return MarkedText(ssml="".join(parts), stressed=spans)
