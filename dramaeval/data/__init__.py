"""Records of annotated speech: read, check, split; clips: find, decode; the bundled sample.

`records.read_records` turns a JSONL file into `Record`s or says everything that is wrong with it,
`audio.decode` turns a clip into samples, `splits` keeps training and test apart.
"""
