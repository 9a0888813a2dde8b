"""The ring's last seconds, kept for a viewer who paused."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from rtface.rings import FrameRecord, FrameRingReader
from rtface.types import Float32Array, Image
from rtface.view import packet
from rtface.view.picture import JpegEncoder

#: of the newest frames that are kept: 30 MB as JPEG, and for a second so much memory before that
MOST_FRAMES, MOST_BYTES = 1000, 400 << 20


class Past:
    """Pictures of the last seconds, by ``frame_seq``.

    For threads of their own: frames are copied when it is made, the oldest before all others
    because the ring overwrites them next. Their results may come a moment later; then they are
    encoded.

    Parameters
    ----------
    camera, session : str
    run : int
        For the messages.
    t0_ns : int
    stopped : callable
        Whether nobody wants it any more.

    Attributes
    ----------
    last : int
        The newest frame; -1: there is none.
    """

    def __init__(
        self,
        camera: str,
        session: str,
        run: int,
        t0_ns: int,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.pictures: dict[int, bytes] = {}
        self.last = -1
        self._run, self._t0_ns, self._stopped = run, t0_ns, stopped
        self._copies: deque[tuple[int, FrameRecord, Image]] = deque()
        frames = FrameRingReader(camera)
        try:
            if frames.session != session:
                return
            self._info = frames.info
            end = frames.ring.head + 1
            info = frames.info
            frame_bytes = info.height * info.width * np.dtype(info.dtype).itemsize
            most = min(MOST_FRAMES, MOST_BYTES // frame_bytes)
            for frame_seq in range(max(frames.ring.oldest, end - most), end):
                if found := frames.take(frame_seq):
                    self._copies.append((frame_seq, found[0], found[1].copy()))
                    self.last = frame_seq
        finally:
            frames.close()

    def encode(self, rows: tuple[packet.Float64Array, Float32Array]) -> None:
        """Make the pictures.

        Parameters
        ----------
        rows : tuple of ndarray
            Rows that there are, ascending; frames that were passed over have none and get NaN.
        """
        times, values = rows
        encode = JpegEncoder(self._info) if self._copies else None
        while encode and self._copies and not self._stopped():
            frame_seq, record, image = self._copies.popleft()
            place = int(np.searchsorted(times[:, 0], frame_seq))
            if place < len(times) and times[place, 0] == frame_seq:
                row = times[place], values[place]
            else:
                row = _bare(frame_seq, record, self._t0_ns, values.shape[1])
            jpeg = encode(image)
            self.pictures[frame_seq] = packet.picture_message(self._run, encode.step, *row, jpeg)


def _bare(
    frame_seq: int, record: FrameRecord, t0_ns: int, n_columns: int
) -> tuple[packet.Float64Array, Float32Array]:
    """Return the row of a frame that was not tracked."""
    times = np.array(
        [frame_seq, np.nan, (record.t_host_ns - t0_ns) * 1e-9, np.nan, record.frame_id]
    )
    return times, np.full(n_columns, np.nan, np.float32)
