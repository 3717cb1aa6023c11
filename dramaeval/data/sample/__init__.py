"""The files of the bundled sample; `DATACARD.md` describes it."""
