"""The rows of a source, read back from imported records."""


def source_rows(records):
    """The rows of the source from the records' key ``source``, in the source's order: the inverse of an import.

    The cells of a row that ``importer.unpivot`` has divided are joined again.
    """
    rows = {}
    for record in records:
        for row in record["source"]:
            rows.setdefault((row["file"], row["row"]), {}).update(row["values"])
    return [rows[key] for key in sorted(rows)]
