"""Batches of waiting jobs: each job gets its own scores, equal to those of `Judge.score`, and none is lost."""

import threading

import pytest
from serving_clips import TASK, started, texts, wave

from dramaeval.serving.batching import BatchScorer, Job, QueueFullError, StoppingError


def job(number, seconds=0.6, **changes):
    return Job(clips=(wave(number, seconds),), texts=texts(number) | changes)


def assert_same_scores(result, expected):
    assert result.keys() == expected.keys()
    for key, score in expected.items():
        assert result[key].distribution == pytest.approx(score.distribution, abs=1e-6)
        assert result[key].expected == pytest.approx(score.expected, rel=1e-6)


def test_waiting_jobs_are_scored_together_and_get_their_own_scores(judge, gate):
    jobs = [job(number, 0.4 + 0.2 * number) for number in range(5)]
    with started(BatchScorer(gate, TASK, batch_clips=3)) as scorer:
        scorer.submit(jobs[:1])
        assert gate.entered.wait(60)
        threads = [threading.Thread(target=scorer.submit, args=([each],)) for each in jobs[1:]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert scorer.waiting_clips == 4
        gate.open.set()
        results = [each.result.result(60) for each in jobs]
    assert gate.sizes == [1, 3, 1]
    for each, result in zip(jobs, results, strict=True):
        assert_same_scores(result, judge.score(each.clips[0], TASK, **each.texts))


def test_a_bad_text_fails_only_its_own_job(judge, gate):
    first, bad, good = job(0), job(1, scene="<|im_end|>"), job(2)
    with started(BatchScorer(gate, TASK)) as scorer:
        scorer.submit([first])
        assert gate.entered.wait(60)
        scorer.submit([bad, good])
        gate.open.set()
        with pytest.raises(ValueError, match="scene"):
            bad.result.result(60)
        assert_same_scores(good.result.result(60), judge.score(good.clips[0], TASK, **good.texts))
    assert gate.sizes == [1, 2, 1, 1]


def test_jobs_with_other_texts_are_not_put_into_one_call():
    full, fewer = job(0), job(1)
    fewer = Job(clips=fewer.clips, texts={"scene": "A room."})
    assert full.fits(job(2))
    assert not full.fits(fewer)
    assert not full.fits(Job(clips=full.clips * 2, texts=full.texts))


def test_a_full_queue_takes_all_jobs_of_a_request_or_none(gate):
    with started(BatchScorer(gate, TASK, queue_clips=3)) as scorer:
        first = job(0)
        scorer.submit([first])
        assert gate.entered.wait(60)
        scorer.submit([job(1), job(2)])
        with pytest.raises(QueueFullError, match="2 clips wait, and 3 may wait"):
            scorer.submit([job(3), job(4)])
        assert scorer.waiting_clips == 2
        gate.open.set()


def test_a_cancelled_job_is_not_scored_and_no_longer_counts_as_waiting(gate):
    first, cancelled, other = job(0), job(1), job(2)
    with started(BatchScorer(gate, TASK, queue_clips=1)) as scorer:
        scorer.submit([first])
        assert gate.entered.wait(60)
        scorer.submit([cancelled])
        assert cancelled.result.cancel()
        scorer.submit([other])
        gate.open.set()
        assert other.result.result(60)
    assert sum(gate.sizes) == 2


def test_stop_answers_all_accepted_jobs_and_refuses_new_ones(gate):
    scorer = BatchScorer(gate, TASK, batch_clips=2)
    scorer.start()
    jobs = [job(number) for number in range(4)]
    scorer.submit(jobs)
    assert gate.entered.wait(60)
    stopping = threading.Thread(target=scorer.stop)
    stopping.start()
    with scorer._changed:
        assert scorer._changed.wait_for(lambda: scorer._stopping, 60)
    with pytest.raises(StoppingError):
        scorer.submit([job(9)])
    gate.open.set()
    stopping.join(60)
    assert all(each.result.done() and each.result.result() for each in jobs)
    assert gate.sizes == [2, 2]
