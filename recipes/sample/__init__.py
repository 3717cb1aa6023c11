"""Synthetic acted speech with controlled delivery, for the sample and the tiny judge.

`speech` turns a text and a `Delivery` into audio; `espeak` is the binding of libespeak-ng.
"""

from __future__ import annotations

from pathlib import Path

import dramaeval.data.sample

#: The folder that the package ships.
SAMPLE = Path(dramaeval.data.sample.__file__).parent
