"""Importers: rated speech in other formats becomes records, a draft rubric, a card and split files."""
