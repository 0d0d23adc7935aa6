"""TensorBoard's event files, written without TensorFlow: `tensorboard --logdir FOLDER` draws them while training runs.

tensorboardX rather than TensorBoard's own writer, which imports TensorFlow when it is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.tracking.point import Point, Status


class TensorBoard:
    """One event file per process in a folder; a curve that goes back to an earlier step is drawn from there on.

    Args:
        folder: Path. Made when there is something to write.
    """

    name = "TensorBoard"
    interval = 2.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: Any = None
        self._last: int | None = None

    def write(self, points: Sequence[Point]) -> None:
        """Append the points and flush."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary

        if self._writer is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(self.folder / "events"), filename_suffix=f".{points[0].step}")
        for point in points:
            if self._last is None or point.step < self._last:
                # Drops what an earlier process wrote from this step on, or this one after the step it went back to.
                first = point.step if self._last is None else point.step + 1
                start = SessionLog(status=SessionLog.START)
                self._writer.write_event(Event(wall_time=point.seconds, step=first, session_log=start))
            self._last = point.step
            values = [Summary.Value(tag=name, simple_value=value) for name, value in point.figures.items()]
            self._writer.write_event(Event(wall_time=point.seconds, step=point.step, summary=Summary(value=values)))
        self._writer.flush()

    def close(self, _: Status) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
