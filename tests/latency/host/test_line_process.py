from __future__ import annotations

import pytest

from latency.host.line_process import LineProcess, ProcessEndedError


@pytest.mark.parametrize(("script", "signal"), [("kill -SEGV $$", 11), ("kill -KILL $$", 9), ("exit 3", None)])
def test_the_signal_that_ended_a_process_is_known(script: str, signal: int | None) -> None:
    process = LineProcess(["sh", "-c", script])
    with pytest.raises(ProcessEndedError):
        process.receive(5.0)
    assert process.ended_by == signal
    process.close()


def test_the_cpu_time_of_a_process_tells_work_from_waiting() -> None:
    busy, idle = LineProcess(["sh", "-c", "while :; do :; done"]), LineProcess(["sleep", "10"])
    for process in (busy, idle):
        with pytest.raises(TimeoutError):
            process.receive(0.5)
    assert busy.cpu_s > idle.cpu_s == 0.0
    busy.kill()
    idle.kill()
