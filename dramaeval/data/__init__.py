"""Annotated speech: records, clips and their features, splits, and the bundled sample.

`records.read_records` turns a JSONL file into `Record`s or reports all its problems, `audio.decode` turns a clip into
samples, `splitting` separates training and test data.
"""
