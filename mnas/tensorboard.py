"""A file of scalars for TensorBoard, written by the thread that has them.

tensorboardX's own `SummaryWriter` writes in a thread of its own, which ends on a full disk, and waits for that thread
for ever.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from mnas.files import errors_named, make_folder


class TensorBoardFile:
    """A new file of scalars in a folder; an error of writing it is an OSError that names the folder."""

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        """Make the file, and the folder if it is new.

        Args:
            folder: Where TensorBoard looks for it.
            purge_step: TensorBoard drops what earlier files in the folder have from this step on.

        Raises:
            RunDirectoryError: The folder is a link or a file.
        """
        # Here, because tensorboardX takes its time to load.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.summary import scalar

        self._event, self._scalar = Event, scalar
        make_folder(folder)
        self._folder = folder
        with errors_named(folder):
            # A suffix that nobody can foresee: EventsWriter would follow a link of the file's name.
            self._writer = EventsWriter(str(folder / "events"), f".{secrets.token_hex(8)}")
            if purge_step is not None:
                start = SessionLog(status=SessionLog.START)
                self._writer.write_event(Event(wall_time=time.time(), step=purge_step, session_log=start))

    def add_scalar(self, tag: str, value: float, step: int, at_s: float | None = None) -> None:
        """Add a point of a curve.

        Args:
            tag: The name of the curve.
            value: The number.
            step: Where it is on the curve.
            at_s: When it was, in seconds since 1970; now if None.
        """
        wall_time = time.time() if at_s is None else at_s
        event = self._event(wall_time=wall_time, step=step, summary=self._scalar(tag, value, display_name=tag))
        with errors_named(self._folder):
            self._writer.write_event(event)

    def flush(self) -> None:
        """Write what is buffered."""
        with errors_named(self._folder):
            self._writer.flush()

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        with errors_named(self._folder):
            self._writer.close()
