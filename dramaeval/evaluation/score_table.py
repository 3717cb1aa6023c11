"""The scores of clips, or comparisons of pairs, as a table: a row for each, in a terminal, as CSV, as Parquet.

Predictions files are read a clip at a time, so that memory does not depend on the number of clips.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dramaeval.data.csv_text import csv_text
from dramaeval.data.jsonl import json_lines
from dramaeval.evaluation.pair_predictions import PairPrediction, is_pair_line
from dramaeval.evaluation.predictions import Prediction

#: The endings of files that `write_scores` writes.
ENDINGS = (".csv", ".parquet", ".jsonl")
#: The number of clips that `print_scores` shows.
SHOWN = 20
#: The number of rows of a part of a Parquet file.
_PART = 10_000
#: The columns of texts; those of a dimension and pair.
_TEXTS = {"id", "clip", "clip_a", "clip_b", "unscored"}
_OF_PAIR = ("p_a", "p_tie", "p_b", "margin")
#: The width in characters below which the columns of several dimensions have numbers as titles.
_WIDE = 24


def by_clip(file: Path) -> Iterator[list[Prediction]]:
    """The predictions of each clip in a predictions file, whose lines of a clip follow each other."""
    predictions = (Prediction.from_json(json.loads(line)) for _, line in json_lines(file))
    for _, group in itertools.groupby(predictions, key=lambda prediction: prediction.id):
        yield list(group)


def row_of(
    predictions: Sequence[Prediction], dimensions: Sequence[str], clip: str | None
) -> dict[str, Any]:
    """A clip's row: id, clip, the expected score of each dimension, then the spreads, then the reasons without a score.

    Args:
        predictions: of the clip.
        dimensions: keys of all columns.
        clip: path of the clip, if it is known.
    """
    of_dimension = {prediction.dimension: prediction for prediction in predictions}
    given = {key: of_dimension.get(key) for key in dimensions}
    unscored = [f"{each.dimension}: {each.state}" for each in predictions if not each.scored]
    return {
        "id": predictions[0].id,
        "clip": clip,
        **{key: each.expected if each else None for key, each in given.items()},
        **{f"{key}.spread": each.spread if each else None for key, each in given.items()},
        "unscored": "; ".join(unscored) or None,
    }


def write_scores(
    output: Path, file: Path, dimensions: Sequence[str], clips: Mapping[str, str]
) -> None:
    """Write the scores of a predictions file to a ``.csv`` or ``.parquet`` file, or copy it to a ``.jsonl`` file.

    The file is replaced at once. A file with comparisons of pairs gives a row for each pair, see `pair_row_of`.

    Args:
        output: the file to write.
        file: the predictions.
        dimensions: keys of the dimensions, which become columns.
        clips: the paths of the clips, by id.
    """
    unfinished = output.with_name(output.name + ".unfinished")
    first = next((json.loads(line) for _, line in json_lines(file)), None)
    if is_pair_line(first):
        columns = ["id", "clip_a", "clip_b", *_pair_columns(dimensions)]
        rows = (pair_row_of(group, dimensions) for group in _by_pair(file))
    else:
        spreads = [f"{key}.spread" for key in dimensions]
        columns = ["id", "clip", *dimensions, *spreads, "unscored"]
        rows = (row_of(group, dimensions, clips.get(group[0].id)) for group in by_clip(file))
    if output.suffix == ".jsonl":
        shutil.copyfile(file, unfinished)
    elif output.suffix == ".parquet":
        _write_parquet(unfinished, rows, columns)
    else:
        with unfinished.open("w", encoding="utf-8", newline="") as stream:
            stream.write(csv_text([columns]))
            for row in rows:
                values = ["" if value is None else value for value in row.values()]
                stream.write(csv_text([values]))
    os.replace(unfinished, output)


def _by_pair(file: Path) -> Iterator[list[PairPrediction]]:
    """The comparisons of each pair in a predictions file, whose lines of a pair follow each other."""
    predictions = (PairPrediction.from_json(json.loads(line)) for _, line in json_lines(file))
    for _, group in itertools.groupby(predictions, key=lambda prediction: prediction.id):
        yield list(group)


def pair_row_of(predictions: Sequence[PairPrediction], dimensions: Sequence[str]) -> dict[str, Any]:
    """A pair's row: id, both clips, and of each dimension the three probabilities and the margin.

    Args:
        predictions: of the pair.
        dimensions: keys of all columns.
    """
    of_dimension = {prediction.dimension: prediction for prediction in predictions}
    values = {
        f"{key}.{name}": getattr(of_dimension.get(key), name, None)
        for key in dimensions
        for name in _OF_PAIR
    }
    first = predictions[0]
    return {"id": first.id, "clip_a": first.clip_a, "clip_b": first.clip_b, **values}


def _pair_columns(dimensions: Sequence[str]) -> list[str]:
    return [f"{key}.{name}" for key in dimensions for name in _OF_PAIR]


def _write_parquet(file: Path, rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
    import pyarrow
    import pyarrow.parquet

    types = [(name, pyarrow.string() if name in _TEXTS else pyarrow.float64()) for name in columns]
    schema = pyarrow.schema(types)
    rows = iter(rows)
    with pyarrow.parquet.ParquetWriter(file, schema) as writer:
        while part := list(itertools.islice(rows, _PART)):
            writer.write_table(pyarrow.Table.from_pylist(part, schema=schema))


def print_scores(
    groups: Iterable[Sequence[Prediction]],
    dimensions: Sequence[str],
    *,
    console: Any = None,
) -> None:
    """Print the scores of the first clips.

    One clip has a line for each dimension with the score, its spread and the distribution. Several clips have a line
    each, with the dimensions as numbered columns.

    Args:
        groups: the predictions of each clip.
        dimensions: keys of the dimensions.
        console: of rich; by default standard output.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = list(itertools.islice(groups, SHOWN))
    if not shown:
        return
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    if len(shown) == 1:
        _fill_single(table, shown[0])
        legend = ""
    else:
        legend = _fill_several(table, shown, dimensions)
    if not console.is_terminal:  # a file or a pipe gets whole lines
        console = Console(file=console.file, width=400, color_system=None)
    console.print(table)
    if legend:
        console.print(legend, markup=False, highlight=False)


def _fill_single(table: Any, predictions: Sequence[Prediction]) -> None:
    from rich.text import Text

    table.add_column(Text(predictions[0].id), overflow="fold")
    for title in ("score", "spread", "probability of each score"):
        table.add_column(title, justify="left" if title.startswith("prob") else "right")
    for each in predictions:
        if not each.scored:
            cells = ["-", "-", each.state]
        else:
            shares = zip(each.scale, each.distribution or (), strict=False)
            likely = [f"{score:g}: {share:.0%}" for score, share in shares if share >= 0.005]
            spread = "-" if each.spread is None else f"{each.spread:.2f}"
            cells = [f"{each.expected:.2f}", spread, "  ".join(likely)]
        table.add_row(*map(Text, [each.dimension, *cells]))


def _fill_several(
    table: Any,
    shown: Sequence[Sequence[Prediction]],
    dimensions: Sequence[str],
) -> str:
    """Fill in a line for each clip; returns the meaning of the column titles, if they are numbers."""
    from rich.text import Text

    numbered = sum(len(name) + 2 for name in dimensions) > _WIDE
    table.add_column("clip", overflow="fold")
    for number, name in enumerate(dimensions, 1):
        table.add_column(Text(str(number) if numbered else name), justify="right", no_wrap=True)
    for predictions in shown:
        scores = {each.dimension: each.expected for each in predictions}
        cells = [scores.get(key) for key in dimensions]
        texts = ["-" if score is None else f"{score:.2f}" for score in cells]
        table.add_row(*map(Text, [predictions[0].id, *texts]))
    if not numbered:
        return ""
    return ", ".join(f"{number} {name}" for number, name in enumerate(dimensions, 1))
