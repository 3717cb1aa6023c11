"""`python -m recipes.tiny_judge`: rebuild the tiny judge."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from recipes.tiny_judge.recipe import Plan, Recipe, cores


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run the recipe."""
    defaults = Plan()
    parser = argparse.ArgumentParser(prog="python -m recipes.tiny_judge", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("outputs/tiny"), help="the judge's folder")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("outputs/tiny_pretraining"),
        help="synthesised clips (about 2.5 GB) and snapshots; an interrupted recipe resumes from them",
    )
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--processes", type=int, default=cores(), help="processors to use")
    parser.add_argument(
        "--share", type=float, default=1.0, help="share of the clips and steps, for a quick trial"
    )
    settings = parser.parse_args(arguments)
    plan = Plan(seed=settings.seed, processes=settings.processes).shortened(settings.share)
    figures = Recipe(plan, settings.work).run(settings.out)
    settings.work.mkdir(parents=True, exist_ok=True)
    report = settings.work / "check.json"
    report.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print(f"The check is in {report}.")


if __name__ == "__main__":
    main()
