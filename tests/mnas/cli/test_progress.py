import io
import re

import pytest
from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import TextColumn

from mnas.cli.progress import COLUMNS, SearchProgress, time_left_s, trial_line
from mnas.errors import Failure, FailureKind
from mnas.search.driver import Progress
from mnas.search.store import Trial


def trial(**changes: object) -> Trial:
    values = {
        "id": 7,
        "state": "complete",
        "decisions": (0,),
        "architecture": {},
        "fingerprint": "f",
        "repeat_of": None,
        "training": None,
        "latency": None,
        "accuracy": 0.5,
        "latency_ms": 2.0,
        "reward": 0.4,
        "failure": None,
        "proposed_at": "",
        "finished_at": "",
    }
    return Trial(**{**values, **changes})  # type: ignore[arg-type]  # a table of defaults has no types


def test_time_left_follows_the_pace_of_this_session() -> None:
    assert time_left_s(ended_now=4, remaining=6, elapsed_s=20.0) == 30.0


def test_time_left_is_unknown_before_the_first_trial_has_ended() -> None:
    assert time_left_s(ended_now=0, remaining=6, elapsed_s=20.0) is None


def test_a_complete_trial_is_one_line_of_numbers() -> None:
    assert trial_line(trial()) == "trial    7  accuracy 0.5000  latency 2.0000 ms  reward 0.4000"


def test_the_latencies_on_other_phones_are_in_the_line_by_name() -> None:
    latency = {"latency_ms": 2.0, "others": {"galaxy": {"latency_ms": 3.0}}}
    assert "latency 2.0000 ms  galaxy 3.0000 ms  reward" in trial_line(trial(latency=latency))


def test_a_repeat_names_the_trial_that_it_repeats() -> None:
    assert trial_line(trial(repeat_of=3)).endswith("same network as trial 3")


def test_a_failed_trial_says_why() -> None:
    failure = Failure(FailureKind.WORKER_DIED, "killed")
    assert trial_line(trial(state="failed", failure=failure)) == "trial    7  failed: worker_died: killed"


def test_the_bar_shows_counts_workers_and_the_best() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=200)
    with Bar(TextColumn("{task.description}"), TextColumn("{task.fields[best]}"), console=console) as bar:
        shown = SearchProgress(console, bar, norm_momentum=0.9)
        shown.progress(Progress(total=9, complete=3, failed=1, pending=2, workers=2, workers_busy=1, best=trial()))
    assert "1/2 busy, 1 failed best 0.4000 (7)" in written.getvalue()


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}])
def test_colours_are_left_out_if_the_user_wants_none(environment: dict[str, str]) -> None:
    written = io.StringIO()
    given = {"TERM": "xterm-256color", **environment}
    console = Console(file=written, force_terminal=True, width=200, _environ=given)
    with Bar(*COLUMNS, console=console) as bar:
        shown = SearchProgress(console, bar, norm_momentum=0.9)
        shown.progress(Progress(total=9, complete=3, failed=1, pending=2, workers=2, workers_busy=1, best=trial()))
    has_colour = re.search(r"\x1b\[(?:\d+;)*(?:3[0-8]|9[0-7])[;m]", written.getvalue()) is not None
    assert has_colour == (not environment)


def test_without_a_terminal_a_line_says_how_many_have_ended() -> None:
    written = io.StringIO()
    console = Console(file=written, width=80)
    with Bar(console=console, disable=True) as bar:
        shown = SearchProgress(console, bar, norm_momentum=0.9)
        shown.progress(Progress(total=9, complete=3, failed=1, pending=2, workers=2, workers_busy=1, best=trial()))
        shown.trial_finished(trial())
    assert "   5 of 9   0:00  trial    7  accuracy 0.5000" in written.getvalue()


def test_trials_that_are_given_back_are_said_once() -> None:
    written = io.StringIO()
    console = Console(file=written, width=80)
    progress = Progress(total=9, complete=3, failed=0, pending=6, workers=2, workers_busy=1, best=trial(), given_back=5)
    with Bar(console=console, disable=True) as bar:
        shown = SearchProgress(console, bar, norm_momentum=0.9)
        shown.progress(progress)
        shown.progress(progress)
    assert written.getvalue().count("mnas: 5 trials that failed through no fault of the networks: tried again") == 1


def test_a_long_start_is_explained_without_a_terminal() -> None:
    written = io.StringIO()
    console = Console(file=written, width=80)
    with Bar(console=console, disable=True) as bar:
        SearchProgress(console, bar, norm_momentum=0.9)
    assert written.getvalue() == "mnas: loading the images and starting the workers\n"


def test_the_bar_fits_80_columns() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=80, color_system=None)
    with Bar(*COLUMNS, console=console) as bar:
        shown = SearchProgress(console, bar, norm_momentum=0.9)
        shown.progress(
            Progress(total=1000, complete=300, failed=12, pending=2, workers=16, workers_busy=14, best=trial(id=123))
        )
    assert "best 0.4000 (123)" in written.getvalue()


def test_a_norm_momentum_that_is_too_high_is_said_once() -> None:
    written = io.StringIO()
    console = Console(file=written, width=80)
    with Bar(console=console, disable=True) as bar:
        shown = SearchProgress(console, bar, norm_momentum=0.99)
        for number in (1, 2):
            shown.trial_finished(trial(id=number, training={"accuracy": 0.5, "steps": 85}))
    assert written.getvalue().count("training.norm_momentum is 0.99: after 85 steps") == 1


def test_a_training_that_was_stopped_says_where_and_why() -> None:
    training = {"rungs": [{"epoch": 2, "accuracy": 0.5, "least_accuracy": 0.625}], "steps": 10}
    line = trial_line(trial(state="stopped", training=training))
    assert line.endswith("reward 0.4000  (stopped after epoch 2: accuracy 0.5000, and 0.6250 was needed)")


def test_a_network_that_was_too_slow_has_no_accuracy_in_its_line() -> None:
    line = trial_line(trial(state="stopped", accuracy=None, reward=None))
    assert "accuracy -  latency 2.0000 ms  reward -  (too slow to be trained" in line
