"""Annotated speech: records, clips and their features, splits, and the bundled sample.

`records.read_records` turns a JSONL file into `Record`s or reports all of its problems, `audio.decode` turns a
clip into samples, `splitting` keeps training and test apart.
"""
