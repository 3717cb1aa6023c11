"""Samples in the line of a record take the place of the file of its clip."""

import json
from dataclasses import replace

import numpy as np

from dramaeval.data.audio import decode
from dramaeval.data.inline_audio import INLINE, clip_samples
from dramaeval.data.records import read_records
from dramaeval.data.shared_content import group_records
from dramaeval.data.splitting import overlap
from dramaeval.stages.builders import build_task


def inline(record):
    """The record with the samples of its clip in the line, as they are read from JSON."""
    samples = json.loads(json.dumps(decode(record.clip, 16_000).tolist()))
    return replace(record, clip=INLINE, fields={**record.fields, "audio": samples})


def read(composed, make_clips):
    return read_records(make_clips("a", 3), build_task(composed()).record_format()).records


def test_the_samples_of_a_file_and_of_a_line_are_the_same(composed, make_clips):
    for record in read(composed, make_clips):
        for max_seconds in (30, 0.3, 0.29999):
            samples = clip_samples(inline(record), 16_000, max_seconds)
            np.testing.assert_array_equal(samples, clip_samples(record, 16_000, max_seconds))


def test_records_with_the_same_samples_share_a_clip(composed, make_clips):
    first, second, third = map(inline, read(composed, make_clips))
    groups = group_records([first, second, replace(first, id="again")], "clip")
    assert groups[0] == groups[2] != groups[1]
    assert overlap([first, second], [third], ["clip"]) == []
    (shared,) = overlap([first, second], [third, replace(second, line=7)], ["clip"])
    assert (shared.train_lines, shared.test_lines) == ((second.line,), (7,))
