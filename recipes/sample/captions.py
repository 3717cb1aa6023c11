"""Captions of the actual delivery: the `audio_info` of a record."""

from recipes.sample.speech import Delivery
from recipes.sample.voices import VOICES

_PERSON = {
    ("woman", "child"): "A young girl",
    ("woman", "teenager"): "A teenage girl",
    ("woman", "adult"): "A woman",
    ("woman", "elderly"): "An old woman",
    ("man", "child"): "A young boy",
    ("man", "teenager"): "A teenage boy",
    ("man", "adult"): "A man",
    ("man", "elderly"): "An old man",
}
_RATE = ("slowly", "at a medium pace", "fast")
_PITCH = ("in a monotone", "with some melody", "with a lively melody")
_LEVEL = ("in a hushed voice", "at a normal level", "in a raised voice")
_SWELLS = ("evenly loud", "with some swells of loudness", "with strong swells of loudness")
_PAUSES = {
    "natural": "pausing at the punctuation",
    "none": "without any pause",
    "broken": "with hesitations inside phrases",
}
_STRESS = {
    "content": "Key words are stressed",
    "none": "No word is stressed",
    "misplaced": "Stress falls on the wrong words",
}
_ARTEFACT = {
    "none": "the recording is clean",
    "noise": "there is a steady hiss",
    "clipping": "the sound is clipped",
    "robotic": "the voice is robotic",
    "dropouts": "the sound drops out",
}
_EMOTION = {"joy": "joyful", "anger": "angry", "sadness": "sad", "fear": "fearful"}
_STRENGTH = ("faintly", "clearly", "overwhelmingly")


def audio_caption(delivery: Delivery, language: str) -> str:
    """Voice, manner and recording, in two sentences."""
    voice = VOICES[delivery.voice]
    tongue = "English" if language == "en" else "Mandarin"
    return (
        f"{_PERSON[voice.sex, voice.age]} speaks {tongue} {_third(_RATE, delivery.rate)}, "
        f"{_third(_PITCH, delivery.pitch_range)}, {_third(_LEVEL, delivery.level)}, "
        f"{_third(_SWELLS, delivery.loudness_range)}, {_PAUSES[delivery.pauses]}. "
        f"{_STRESS[delivery.stress]}; {_ARTEFACT[delivery.artefact]}."
    )


def emotion_caption(delivery: Delivery) -> str:
    """Emotion and its strength, in one sentence."""
    if delivery.emotion == "neutral":
        return "The voice sounds neutral."
    strength = _third(_STRENGTH, delivery.intensity)
    return f"The voice sounds {strength} {_EMOTION[delivery.emotion]}."


def _third(words: tuple[str, str, str], value: float) -> str:
    return words[min(2, int(3 * value))]
