"""Reads Excel files. Cells keep their types; a formula without a saved result is a problem, not a missing rating."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dramaeval.config.extras import missing_package
from dramaeval.config.importer_settings import ImporterConfig
from dramaeval.importing.extracted_audio import AudioFolder
from dramaeval.importing.problems import BadSourceError
from dramaeval.importing.rows import Row, Table
from dramaeval.importing.text_table import column_names


def read_excel(file: Path, settings: ImporterConfig, clips: AudioFolder) -> Table:
    """Read a sheet of an Excel file; the first row that is not skipped is the header.

    Raises:
        BadSourceError: openpyxl is not installed, the file is not a workbook, or the sheet is unknown or ambiguous.
    """
    if problem := missing_package("openpyxl", "an Excel file"):
        raise BadSourceError.of_file(file, problem, "or save the sheet as CSV")
    import openpyxl

    try:
        values = openpyxl.load_workbook(file, data_only=True)
        formulas = openpyxl.load_workbook(file, data_only=False)
    except Exception as error:  # noqa: BLE001 - openpyxl raises errors of zipfile, xml and its own
        fix = "save the file as .xlsx or CSV"
        raise BadSourceError.of_file(file, f"not an Excel workbook ({error})", fix) from None
    name = _sheet_name(file, values, settings.sheet)
    rows = list(values[name].iter_rows(values_only=True))
    contents = list(formulas[name].iter_rows(values_only=True))
    if len(rows) < 2:
        raise BadSourceError.of_file(
            file, f"the sheet {name} has no rows", "give a sheet with rows"
        )
    numbered = enumerate(zip(rows, contents, strict=True), 1)
    kept = [
        (number, cells, sources)
        for number, (cells, sources) in numbered
        if number not in settings.skip_rows and any(source is not None for source in sources)
    ]
    filled = (n for _, row, _ in kept for n, cell in enumerate(row, 1) if cell is not None)
    width = max(filled, default=0)
    header = kept[0][1][:width] if kept else ()
    columns = column_names(file, ["" if cell is None else str(cell) for cell in header])
    table = Table(columns=columns)
    for number, cells, sources in kept[1:]:
        row = Row(file=file, number=number, values=dict(zip(columns, cells, strict=False)))
        for column, cell, source in zip(columns, cells, sources, strict=False):
            if cell is None and source is not None:
                fix = "open and save the file in a spreadsheet program, or enter the value itself"
                table.problems.append(row.problem(column, f"{source!r} has no saved result", fix))
        table.rows.append(row)
    return table


def _sheet_name(file: Path, workbook: Any, setting: str | None) -> str:
    names = [sheet.title for sheet in workbook.worksheets if sheet.max_row > 1]
    if setting in workbook.sheetnames:
        return str(setting)
    fix = f"set importer.sheet to one of {', '.join(workbook.sheetnames)}"
    if setting is not None:
        raise BadSourceError.of_file(file, f"no sheet {setting!r}", fix)
    if len(names) != 1:
        raise BadSourceError.of_file(file, f"{len(names)} sheets with rows", fix)
    return str(names[0])
