"""Tables with a row for each clip or pair: in a terminal, as CSV, as Parquet.

Predictions files are read clip by clip, so that memory does not depend on the number of clips.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dramaeval.data.csv_text import csv_text
from dramaeval.data.jsonl import json_lines
from dramaeval.distributed.replacing import replacing
from dramaeval.evaluation.pair_predictions import PairPrediction, is_pair_line
from dramaeval.evaluation.predictions import SCORED, Prediction

Line = TypeVar("Line", Prediction, PairPrediction)
#: The endings of files that `write_scores` writes.
ENDINGS = (".csv", ".parquet", ".jsonl")
#: The number of clips that `print_scores` shows.
SHOWN = 20
#: The number of rows that are written to a Parquet file at once.
_PART = 10_000
#: The columns with texts; the other columns have numbers.
_TEXTS = {"id", "clip", "clip_a", "clip_b", "unscored"}
#: The columns of a pair for each dimension.
_OF_PAIR = ("p_a", "p_tie", "p_b", "margin")
#: If the titles of the dimensions are wider in characters, the columns have numbers as titles.
_WIDE = 24


def by_clip(file: Path) -> Iterator[list[Prediction]]:
    """Yield the predictions of each clip in a predictions file; the lines of a clip are adjacent."""
    return _groups(file, Prediction.from_json)


def _groups(file: Path, from_json: Callable[[Any], Line]) -> Iterator[list[Line]]:
    predictions = (from_json(json.loads(line)) for _, line in json_lines(file))
    for _, group in itertools.groupby(predictions, key=lambda prediction: prediction.id):
        yield list(group)


def row_of(
    predictions: Sequence[Prediction], dimensions: Sequence[str], clip: str | None
) -> dict[str, Any]:
    """The row of a clip: id, clip, the expected score on each dimension, the spreads, and why scores are missing.

    Args:
        predictions: the predictions of the clip.
        dimensions: keys of the dimensions, which become columns.
        clip: path of the clip; None if it is not known.
    """
    scores = {prediction.dimension: prediction for prediction in predictions}
    return {"id": predictions[0].id, "clip": clip, **score_columns(scores, dimensions)}


def score_columns(scores: Mapping[str, Any], dimensions: Sequence[str]) -> dict[str, Any]:
    """The columns of a clip's scores: ``KEY`` and ``KEY.spread`` of each dimension, and ``unscored``.

    Args:
        scores: by dimension key an object with ``expected``, ``spread`` and ``state``.
        dimensions: keys of the dimensions.
    """
    missing = [f"{key}: {score.state}" for key, score in scores.items() if score.state != SCORED]
    return {
        **{key: getattr(scores.get(key), "expected", None) for key in dimensions},
        **{f"{key}.spread": getattr(scores.get(key), "spread", None) for key in dimensions},
        "unscored": "; ".join(missing) or None,
    }


def write_scores(
    output: Path, file: Path, dimensions: Sequence[str], clips: Mapping[str, str]
) -> None:
    """Write the scores of a predictions file to a ``.csv`` or ``.parquet`` file, or copy it to a ``.jsonl`` file.

    An existing file is replaced atomically. Comparisons of pairs give a row for each pair, see `pair_row_of`.

    Args:
        output: the file to write.
        file: the predictions file.
        dimensions: keys of the dimensions, which become columns.
        clips: the paths of the clips, by id.
    """
    first = next((json.loads(line) for _, line in json_lines(file)), None)
    if is_pair_line(first):
        outcomes = (f"{key}.{name}" for key in dimensions for name in _OF_PAIR)
        columns = ["id", "clip_a", "clip_b", *outcomes]
        pairs = _groups(file, PairPrediction.from_json)
        rows = (pair_row_of(pair, dimensions) for pair in pairs)
    else:
        spreads = [f"{key}.spread" for key in dimensions]
        columns = ["id", "clip", *dimensions, *spreads, "unscored"]
        rows = (row_of(group, dimensions, clips.get(group[0].id)) for group in by_clip(file))
    with replacing(output) as unfinished:
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


def pair_row_of(predictions: Sequence[PairPrediction], dimensions: Sequence[str]) -> dict[str, Any]:
    """The row of a pair: id, both clips, and the three probabilities and the margin on each dimension.

    Args:
        predictions: the predictions of the pair.
        dimensions: keys of the dimensions.
    """
    by_dimension = {prediction.dimension: prediction for prediction in predictions}
    values = {
        f"{key}.{name}": getattr(by_dimension.get(key), name, None)
        for key in dimensions
        for name in _OF_PAIR
    }
    first = predictions[0]
    return {"id": first.id, "clip_a": first.clip_a, "clip_b": first.clip_b, **values}


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

    A single clip has a line for each dimension, with the score, its spread and the distribution. Several clips have
    one line each, with a column for each dimension.

    Args:
        groups: the predictions of each clip.
        dimensions: keys of the dimensions.
        console: a console of rich; by default standard output.
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
    for prediction in predictions:
        if not prediction.scored:
            cells = ["-", "-", prediction.state]
        else:
            shares = zip(prediction.scale, prediction.distribution or (), strict=False)
            likely = [f"{score:g}: {share:.0%}" for score, share in shares if share >= 0.005]
            spread = "-" if prediction.spread is None else f"{prediction.spread:.2f}"
            cells = [f"{prediction.expected:.2f}", spread, "  ".join(likely)]
        table.add_row(*map(Text, [prediction.dimension, *cells]))


def _fill_several(
    table: Any,
    shown: Sequence[Sequence[Prediction]],
    dimensions: Sequence[str],
) -> str:
    """Add a line for each clip; return the dimensions of the column titles if these are numbers."""
    from rich.text import Text

    numbered = sum(len(name) + 2 for name in dimensions) > _WIDE
    table.add_column("clip", overflow="fold")
    for number, name in enumerate(dimensions, 1):
        table.add_column(Text(str(number) if numbered else name), justify="right", no_wrap=True)
    for predictions in shown:
        scores = {prediction.dimension: prediction.expected for prediction in predictions}
        cells = [scores.get(key) for key in dimensions]
        texts = ["-" if score is None else f"{score:.2f}" for score in cells]
        table.add_row(*map(Text, [predictions[0].id, *texts]))
    if not numbered:
        return ""
    return ", ".join(f"{number} {name}" for number, name in enumerate(dimensions, 1))
