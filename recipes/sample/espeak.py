"""Binding of libespeak-ng: turns SSML into samples and word times, reproducible bit for bit.

espeak-ng keeps a good deal of hidden state between utterances (its random numbers, the flutter
table's position, the phase of the wave), and only the first has a reset. So every utterance is
spoken by a freshly loaded copy of the library, which takes under a millisecond.
"""

import _ctypes
import ctypes
import ctypes.util
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SAMPLE_RATE = 22050
"""Rate of espeak-ng's formant voices in Hz."""

_SYNCHRONOUS = 2
_DO_NOT_EXIT = 0x8000  # by default espeak-ng exits the process if its data is missing
_SSML_UTF8 = 0x10 | 0x1
_RATE, _PITCH, _RANGE = 1, 3, 4
_WORD = 1
_NO_LOAD = 4  # dlopen's RTLD_NOLOAD on Linux


class EspeakError(RuntimeError):
    """libespeak-ng is missing, or reports an error."""


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """The output of espeak-ng.

    Attributes:
        samples: float64 `(n,)`, -1..1, at `SAMPLE_RATE`.
        words: `(character offset in the SSML, first sample)` of every word, in order.
    """

    samples: np.ndarray
    words: list[tuple[int, int]]


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_longlong),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@functools.cache
def find_library() -> tuple[str, str | None]:
    """Path of libespeak-ng and of its data folder (None: the library's own default).

    Raises:
        EspeakError: neither the Python package nor a system library is there.
    """
    try:
        import espeakng_loader
    except ImportError:
        system = ctypes.util.find_library("espeak-ng")
        if system is None:
            raise EspeakError(
                "libespeak-ng was not found, so speech cannot be synthesised. Fix: either "
                "`pip install espeakng-loader==0.2.4` (ships the library; also part of "
                "`pip install -e '.[test]'`), or install the system package "
                "(`apt-get install libespeak-ng1`)."
            ) from None
        return system, None
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


def engine_version() -> str:
    """Version of libespeak-ng, e.g. `1.52.0`; other versions make other samples."""
    library = ctypes.CDLL(find_library()[0])
    library.espeak_Info.restype = ctypes.c_char_p
    version: bytes = library.espeak_Info(None)
    _unload(library)
    return version.decode().split()[0]


def speak(
    ssml: str, *, voice: str, words_per_minute: int, pitch: int, pitch_range: int, seed: int
) -> Utterance:
    """Speak one SSML text.

    Args:
        ssml: marked-up text; `&` and `<` in the words are escaped by the caller.
        voice: language and variant, e.g. `en-us+f2`.
        words_per_minute: 80 to 450.
        pitch: 0 to 99, 50 is the variant's own; 50 more doubles the frequency.
        pitch_range: 0 (monotone) to 99, 50 is the variant's own.
        seed: of espeak-ng's random numbers (breath, flutter).

    Raises:
        EspeakError: no library, unknown voice, or nothing was spoken.
    """
    path, data = find_library()
    library = ctypes.CDLL(path)
    try:
        return _speak_once(library, data, ssml, voice, (words_per_minute, pitch, pitch_range), seed)
    finally:
        library.espeak_Terminate()
        _unload(library)
        _require_unloaded(path)


def _speak_once(
    library: ctypes.CDLL,
    data: str | None,
    ssml: str,
    voice: str,
    settings: tuple[int, int, int],
    seed: int,
) -> Utterance:
    chunks: list[np.ndarray] = []
    words: list[tuple[int, int]] = []

    def receive(wave: "ctypes._Pointer[ctypes.c_short]", count: int, events: Any) -> int:
        if count > 0:
            chunks.append(np.ctypeslib.as_array(wave, (count,)).copy())
        position = 0
        while events[position].type != 0:
            event = events[position]
            if event.type == _WORD:
                words.append((event.text_position - 1, event.sample))
            position += 1
        return 0

    callback = _Callback(receive)
    where = data.encode() if data else None
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, where, _DO_NOT_EXIT)
    if rate != SAMPLE_RATE:
        raise EspeakError(
            f"libespeak-ng did not start (it answered {rate}); its data: {data or 'default'}. "
            "Fix: install espeakng-loader==0.2.4 (pip) or espeak-ng-data (apt-get) again."
        )
    library.espeak_SetSynthCallback(callback)
    library.espeak_ng_SetRandSeed(ctypes.c_long(seed % 2**31))
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise EspeakError(f"libespeak-ng has no voice {voice!r}.")
    for parameter, value in zip((_RATE, _PITCH, _RANGE), settings, strict=True):
        library.espeak_SetParameter(parameter, value, 0)
    text = ssml.encode()
    library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 0, 0, _SSML_UTF8, None, None)
    if not chunks:
        raise EspeakError(f"libespeak-ng spoke nothing for {ssml!r}.")
    return Utterance(samples=np.concatenate(chunks) / 32768.0, words=words)


def _unload(library: ctypes.CDLL) -> None:
    _ctypes.dlclose(library._handle)


def _require_unloaded(path: str) -> None:
    try:
        still_there = ctypes.CDLL(path, mode=_NO_LOAD)
    except OSError:
        return
    _unload(still_there)
    raise EspeakError(
        f"{Path(path).name} is held by another part of this process, so an utterance would depend "
        "on what was spoken before. Fix: synthesise in a process of its own."
    )
