"""Makes the bundled sample anew, in about a minute: `python -m dramaeval.data.synthesis`.

With `--out FOLDER` it is written there and the package's own copy is left alone.
"""

import sys
from pathlib import Path

from dramaeval.data.synthesis.build import build
from dramaeval.data.synthesis.card import write_card


def main(arguments: list[str]) -> None:
    """Build into the package unless told otherwise."""
    match arguments:
        case []:
            out = Path(__file__).parents[1] / "sample"
        case ["--out", folder]:
            out = Path(folder)
        case _:
            sys.exit("usage: python -m dramaeval.data.synthesis [--out FOLDER]")
    try:
        build(out)
    except FileExistsError as error:
        sys.exit(str(error))
    write_card(out)


if __name__ == "__main__":
    main(sys.argv[1:])
