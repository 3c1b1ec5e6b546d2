"""Batches that a thread prepares ahead: their order and number, what is raised, and that the thread ends."""

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from mnas.data import Batch, DigitsSettings, ImageArrays, ImageFolderSettings, ImageSource
from mnas.errors import DataError
from mnas.mindspore_setup import Device
from mnas.training.feed import BATCHES_AHEAD, THREAD_NAME, Feed, feed_for, prepared_ahead

AHEAD = 3


class Items:
    """Numbers from 0 on; knows which were asked for, where, and whether the generator was closed."""

    def __init__(self, count: int = 100, error: BaseException | None = None) -> None:
        self.made: list[int] = []
        self.threads: set[str] = set()
        self.closed = False
        self._count, self._error = count, error

    def __call__(self) -> Generator[int, None, None]:
        try:
            for number in range(self._count):
                self.made.append(number)
                self.threads.add(threading.current_thread().name)
                yield number
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True


def wait_until_made(items: Items, count: int) -> None:
    deadline = time.monotonic() + 10
    while len(items.made) < count and time.monotonic() < deadline:
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)] == []


def test_items_come_in_order_from_one_thread() -> None:
    items = Items(20)
    assert list(prepared_ahead(items(), AHEAD)) == list(range(20))
    assert len(items.threads) == 1
    assert items.threads.pop().startswith(THREAD_NAME)


@pytest.mark.parametrize("taken", [1, 2, 10])
def test_so_many_are_prepared_and_no_more(taken: int) -> None:
    items = Items()
    with closing(prepared_ahead(items(), AHEAD)) as ahead:
        for _ in range(taken):
            next(ahead)
        wait_until_made(items, taken + AHEAD)
        time.sleep(0.01)
        assert len(items.made) == taken + AHEAD


@pytest.mark.parametrize("error", [DataError("photo.jpg: cannot be read"), KeyError("own source"), SystemExit(3)])
def test_an_error_comes_after_the_items_before_it(error: BaseException) -> None:
    ahead = prepared_ahead(Items(5, error)(), AHEAD)
    assert [next(ahead) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(type(error)) as caught:
        next(ahead)
    assert caught.value is error


def test_the_thread_has_ended_when_the_items_are_left_early() -> None:
    items = Items()
    ahead = prepared_ahead(items(), AHEAD)
    next(ahead)
    ahead.close()
    assert items.closed
    assert len(items.made) <= 1 + AHEAD


def test_the_thread_has_ended_when_its_consumer_fails() -> None:
    items = Items()

    def consume() -> None:
        with Feed(source(), ahead=AHEAD).prepared(items()) as ahead:
            next(ahead)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()
    assert items.closed


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as a command in the foreground sees it, whatever the tests were started with."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_ends_the_wait_and_the_thread() -> None:
    closed = threading.Event()

    def interrupted() -> Generator[int, None, None]:
        try:
            yield 0
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)  # in preparation when the signal comes
            yield 1
        finally:
            closed.set()

    ahead = prepared_ahead(interrupted(), 1)
    with pytest.raises(KeyboardInterrupt):
        list(ahead)
    assert closed.is_set()


def source() -> ImageArrays:
    train = DigitsSettings(image_size=16, augment="crop_flip").load_full().train
    assert isinstance(train, ImageArrays)
    return train


class OwnSource:
    """A source as a user may write it: of normalized images only."""

    def __init__(self, source: ImageSource) -> None:
        self.class_names, self.num_classes = source.class_names, source.num_classes
        self.image_size, self.channels = source.image_size, source.channels
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def training_batches(
        self, batch_size: int, *, seed: int, epoch: int, batches: range | None = None
    ) -> Iterator[Batch]:
        return self._source.training_batches(batch_size, seed=seed, epoch=epoch, batches=batches)

    def evaluation_batches(self, batch_size: int) -> Iterator[Batch]:
        return self._source.evaluation_batches(batch_size)

    def fingerprint(self) -> str:
        return self._source.fingerprint()

    def describe(self) -> str:
        return self._source.describe()


def test_on_the_cpu_the_thread_of_the_steps_prepares_float32() -> None:
    images = source()
    assert feed_for(images, "CPU") == Feed(images, None, ahead=0)


def test_an_npu_is_fed_with_bytes_ahead() -> None:
    images = source()
    assert feed_for(images, "Ascend") == Feed(images, images, BATCHES_AHEAD)


def test_an_own_source_of_normalized_images_is_prepared_ahead_too() -> None:
    images = OwnSource(source())
    assert feed_for(images, "Ascend") == Feed(images, None, BATCHES_AHEAD)


@pytest.mark.parametrize("device", get_args(Device))
def test_placeholders_have_the_form_of_a_batch(device: Device) -> None:
    feed = feed_for(source(), device)
    batch = next(feed.batches(8, seed=0, epoch=0, batches=range(1)))
    assert len(batch) == len(feed.names)
    assert [(array.shape, array.dtype) for array in feed.placeholders(8)] == [
        (array.shape, array.dtype) for array in batch
    ]


def test_streamed_files_are_read_in_the_thread_of_the_steps_which_names_an_unreadable_one(
    tmp_path: Path, make_folder: Callable[..., Path]
) -> None:
    directory = make_folder(tmp_path)
    (directory / "train" / "bee" / "5.png").write_bytes(b"broken")
    settings = ImageFolderSettings(directory=str(directory), image_size=16, storage="stream")
    feed = feed_for(settings.load_full().train, "Ascend")
    assert feed.pixels is not None
    assert feed.ahead == 0
    batches = feed.batches(4, seed=1, epoch=0, batches=range(6))
    with (
        pytest.raises(DataError, match=r"train/bee/5\.png: cannot be read as an 8-bit image"),
        feed.prepared(batch for batch in batches) as ahead,
    ):
        list(ahead)
