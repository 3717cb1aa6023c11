"""The report: what a run found, as one self-contained page, and runs side by side."""
