"""`benchmarks.true_size_study`: peak memory of a process, killing a process, and comparison with the plan."""

import sys

import pytest

from benchmarks.true_size_study import LIMIT, Finished, Study


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path, tmp_path)


def test_the_peak_is_the_largest_size_of_the_process(study):
    code = "import time; held = b'x' * 300_000_000; del held; time.sleep(1)"
    done = study.process([sys.executable, "-c", code])
    assert 286 < done.peak < 350  # 300 MB are 286 MiB, and Python takes about 10
    assert not done.killed
    assert done.seconds > 1


def test_a_process_is_killed_at_the_condition(study, tmp_path):
    marker = tmp_path / "marker"
    code = f"import time; open({str(marker)!r}, 'w'); time.sleep(60)"
    done = study.process([sys.executable, "-c", code], until=marker.exists)
    assert done.killed
    assert done.seconds < 30


def test_a_failed_process_is_an_error_with_its_output(study):
    with pytest.raises(RuntimeError, match="ended with 3: the reason"):
        study.process([sys.executable, "-c", "print('the reason'); raise SystemExit(3)"])


@pytest.mark.parametrize(
    ("gib", "remark"), [(9.1, "within"), (11, "within"), (8.9, "not within"), (11.2, "not within")]
)
def test_the_peak_memory_is_compared_with_the_plan(gib, remark):
    done = Finished(peak=gib * 1024, anonymous=0, seconds=1, cpu=1, killed=False, text="")
    figures = {figure.name: figure for figure in done.figures(planned=10 * 2**30)}
    ratio = figures["peak memory ÷ plan"]
    assert ratio.value == pytest.approx(gib / 10)
    assert ratio.note == f"the plan has 10.0 GiB; {remark} 10 %"
    assert figures["within 24 GiB"].value is True


def test_a_peak_above_the_limit_is_marked():
    done = Finished(peak=LIMIT + 1, anonymous=0, seconds=1, cpu=1, killed=False, text="")
    assert {figure.name: figure.value for figure in done.figures()}["within 24 GiB"] is False


def test_only_weights_that_stay_mapped_count(study, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"x" * 300_000_000)
    code = (
        f"import mmap, time; file = open({str(file)!r}, 'rb'); "
        "pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ); "
        "read = sum(pages[at] for at in range(0, len(pages), 4096)); held = b'x' * 100_000_000; time.sleep(1)"
    )
    done = study.process([sys.executable, "-c", code])
    assert done.peak > 380
    assert 95 < done.anonymous < 150
    figures = {figure.name: figure.value for figure in done.figures(planned=2**30, mapped=2**28)}
    assert figures["needed memory ÷ plan"] == pytest.approx(done.anonymous / 1024 + 0.25)
