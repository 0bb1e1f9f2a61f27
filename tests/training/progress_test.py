import io

import pytest

from symmerge_jax import training


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_log_lines_name_rate_and_time_left():
    stream = io.StringIO()
    with training.Progress(
        100, "zoo", "network", initial=40, min_seconds=0.0, stream=stream
    ) as progress:
        progress.update(20, psnr=24.123)
        progress.update(20, psnr=24.5)
        progress.update(20, psnr=25.0)
    first, second, last = stream.getvalue().splitlines()
    assert first == "zoo: 60/100 network, psnr 24.12"
    assert second.startswith("zoo: 80/100 network, ")
    assert " network/s, 0:00:00 left, psnr 24.5" in second
    assert last.startswith("zoo: 100/100 network, ")
    assert "left" not in last


def test_time_left_does_not_count_what_comes_before_the_first_report(monkeypatch):
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    stream = io.StringIO()
    with training.Progress(400, "train", stream=stream) as progress:
        for now in (30.0, 31.0, 42.0):  # half a minute of compilation
            progress.update(1 if now < 40 else 10)
    first, second = stream.getvalue().splitlines()
    assert first == "train: 1/400 step"
    assert second == "train: 12/400 step, 0.917 step/s, 0:07:03 left"


def test_log_lines_are_rare_and_the_last_is_written():
    stream = io.StringIO()
    with training.Progress(50, "train", stream=stream) as progress:
        for _ in range(50):
            progress.update()
    assert len(stream.getvalue().splitlines()) == 1


def test_terminal_shows_a_bar():
    stream = Terminal()
    with training.Progress(4, "train", stream=stream) as progress:
        for _ in range(4):
            progress.update(loss=0.25)
    assert "1/4 [00:00<?, ?step/s" in stream.getvalue()
    assert "4/4" in stream.getvalue()
    assert "loss 0.25" in stream.getvalue()


def test_bad_start_is_refused():
    with pytest.raises(ValueError, match=r"initial must be in \[0, 3\], got 4"):
        training.Progress(3, "train", initial=4)
