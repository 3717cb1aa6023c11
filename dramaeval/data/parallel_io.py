"""Many small questions to the file system at a time: on network storage each of them waits and does nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Asked = TypeVar("Asked")
Found = TypeVar("Found")
#: Shares a thread: so many that a slow file does not hold up the rest, so few that dealing out costs little.
_SHARES = 8


def ask_each(
    ask: Callable[[Asked], Found], files: Iterable[Asked], workers: int
) -> dict[Asked, Found]:
    """What ``ask`` finds of each file, in the files' order; so many threads ask at a time."""
    wanted = list(files)
    size = max(1, len(wanted) // (workers * _SHARES))
    shares = [wanted[at : at + size] for at in range(0, len(wanted), size)]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        answered = pool.map(lambda share: [ask(one) for one in share], shares)
        found = [one for share in answered for one in share]
    return dict(zip(wanted, found, strict=True))
