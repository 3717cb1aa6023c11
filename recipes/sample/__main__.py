"""Rebuilds the bundled sample in about a minute: `python -m recipes.sample`.

With `--out FOLDER` it is written there and the package's copy stays unchanged.
"""

import sys
from pathlib import Path

from recipes.sample import SAMPLE
from recipes.sample.build import build
from recipes.sample.card import write_card


def main(arguments: list[str]) -> None:
    """Build the sample, by default into the package."""
    match arguments:
        case []:
            out = SAMPLE
        case ["--out", folder]:
            out = Path(folder)
        case _:
            sys.exit("usage: python -m recipes.sample [--out FOLDER]")
    try:
        build(out)
    except FileExistsError as error:
        sys.exit(str(error))
    write_card(out)


if __name__ == "__main__":
    main(sys.argv[1:])
