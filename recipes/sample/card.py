"""Writes the sample's data card: `datacard.txt` with the figures measured on the finished files."""

from pathlib import Path

from recipes.sample.espeak import engine_version
from recipes.sample.figures import archetype_table, counts, realism_table


def write_card(out: Path) -> None:
    """Write `DATACARD.md` beside the finished sample in `out`."""
    import soundfile

    template = (Path(__file__).parent / "datacard.txt").read_text(encoding="utf-8")
    card = template.format(
        realism_table=realism_table(out / "realism"),
        archetype_table=archetype_table(out / "archetype"),
        espeak=engine_version(),
        libsndfile=soundfile.__libsndfile_version__,
        **counts(out),
    )
    (out / "DATACARD.md").write_text(card, encoding="utf-8")
