"""Installs peers, or lists the installed ones; see the package."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.peers import KINDS


def main() -> None:
    """Install peers, or list those that are installed."""
    parser = argparse.ArgumentParser(description="Environments of ms-swift and LLaMA-Factory.")
    parser.add_argument("action", choices=("install", "list"))
    names = {kind.directory: kind for kind in KINDS}
    parser.add_argument("peers", nargs="*", metavar="PEER", help=f"{' or '.join(names)}; else both")
    default = Path(__file__).resolve().parents[2] / "outputs" / "benchmarks"
    parser.add_argument("--folder", type=Path, default=default)
    given = parser.parse_args()
    if unknown := set(given.peers) - set(names):
        parser.error(f"there is no peer {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    for name in given.peers or names:
        peer = names[name](given.folder.absolute(), Path())
        if given.action == "install":
            peer.install()
        state = "installed" if peer.installed else "not installed as pinned"
        print(f"{peer.name} in {peer.environment}: {state}; {peer.found}")


if __name__ == "__main__":
    main()
