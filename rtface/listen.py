"""What ``rtface listen`` prints: a renewing table on a terminal, lines elsewhere, or JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection

import zmq
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from rtface import wire
from rtface.client import Subscription, ask, open_stream
from rtface.topics import STATUS_TOPIC, Row, Tally, TopicListener
from rtface.types import SIGNAL_TOPICS, Flag, TimeSource
from rtface.wire import Message, json_fields, json_text

TURN_S = 0.1
#: after this long without a message something is wrong, s
SILENT_S = 2.0
#: how long the control port may take to say where ``status.`` is, s
CONTROL_TIMEOUT_S = 1.0
#: ``meta.`` comes every 5 s and ``status.`` every second: their rates need a longer look, s
SLOW_WINDOW_S = 10.0

#: how a frame's time was found, in words
SOURCES = {source.value: source.name.lower().replace("_", " ") for source in TimeSource}
#: the topics there are to show
TOPICS = ("pose", "fast", *SIGNAL_TOPICS, "meta", "status")
#: beside the keypoints' own; not ``fast.``: the tracker makes it only once somebody has asked for
#: it, and goes on until the run ends
DEFAULT_TOPICS = ("meta", "status")


def listen_json(
    camera: str, address: str, latest: bool, seconds: float | None, stop: Callable[[], bool]
) -> None:
    """Print every message as one JSON line: its fields, and keypoints by name."""
    stream = open_stream(camera, address, latest)

    end = None if seconds is None else time.monotonic() + seconds
    with stream:
        try:
            while not stop() and (end is None or time.monotonic() < end):
                if message := stream.receive(TURN_S):
                    sys.stdout.write(json_text(json_fields(message, stream.names(message))) + "\n")
                    sys.stdout.flush()
        except BrokenPipeError:  # 'rtface listen --json | head' is a normal way to end
            sys.stdout = None  # nothing is left to flush into


def listen_table(
    camera: str,
    address: str,
    latest: bool,
    seconds: float | None,
    stop: Callable[[], bool],
    topics: Collection[str] = DEFAULT_TOPICS,
    control: str | None = None,
) -> None:
    """Show rate, age and gaps of every topic, and the newest keypoints.

    The keypoints' own topic (``pose.``, or ``fast.`` with ``latest``) is always received, and
    those of ``topics`` beside it; where ``status.`` is, the control port at ``control`` says.
    """
    stream = open_stream(camera, address, latest)
    console = Console()
    with (
        stream,
        zmq.Context() as context,
        _View(camera, stream, latest, console) as view,
    ):
        try:
            view.listen_to(context, topics, address, control)
            poller = zmq.Poller()
            for socket in (stream.socket, *(other.socket for other in view.others)):
                poller.register(socket, zmq.POLLIN)
            end = None if seconds is None else time.monotonic() + seconds
            while not stop() and (end is None or time.monotonic() < end):
                ready = dict(poller.poll(int(TURN_S * 1000)))
                if stream.socket in ready and (message := stream.receive(0)):
                    view.add(message)
                for other in view.others:
                    if other.socket in ready:
                        other.take()
                view.show_if_due()
        except BrokenPipeError:
            sys.stdout = None
        finally:
            context.destroy(linger=0)


class _View:
    """What arrives, counted by topic, and shown once a second."""

    def __init__(self, camera: str, stream: Subscription, latest: bool, console: Console) -> None:
        self.others: list[TopicListener] = []
        self._camera, self._stream = camera, stream
        self._latest = latest
        self._topic = "fast" if latest else "pose"
        self._tally = Tally(self._topic)
        self._newest: Message | None = None
        self._why_no_status = ""
        self._due = time.monotonic() + 1
        self._console = console
        self._live = Live(console=console, refresh_per_second=4)

    def __enter__(self) -> _View:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def listen_to(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        topics: Collection[str],
        address: str,
        control: str | None,
    ) -> None:
        """Connect to the topics beside the keypoints' own."""
        known = {
            "pose": (wire.pose_topic, 1.0, True),
            "fast": (wire.fast_topic, 1.0, True),
            "motion": ("motion.{}.".format, 1.0, True),
            "pupil": ("pupil.{}.".format, 1.0, True),
            "neural": ("neural.{}.".format, 1.0, True),
            "meta": (wire.meta_topic, SLOW_WINDOW_S, False),
        }
        for name, (topic, window_s, numbered) in known.items():
            if name in topics and name != self._topic:
                tally = Tally(topic(self._camera), window_s, numbered)
                self.others.append(TopicListener(context, address, tally))
        if "status" in topics:
            try:
                where = status_address(self._camera, address, control)
            except LookupError as error:
                self._why_no_status = str(error)
            else:
                tally = Tally(STATUS_TOPIC, SLOW_WINDOW_S)
                self.others.append(TopicListener(context, where, tally))

    def add(self, message: Message) -> None:
        """Take a message with keypoints."""
        self._newest = message
        self._tally.add(message)

    def rows(self) -> list[Row]:
        """Return what there is to say of every topic now."""
        stream, tally = self._stream, self._tally
        note = f"stale {stream.stale}" if self._latest else ""
        if tally.silent_s > SILENT_S:
            note = f"no message for {tally.silent_s:.0f} s: the run has ended or hangs"
        rows = [Row(self._topic, tally.rate_hz, tally.ages_ms, stream.lost, note)]
        for other in self.others:
            tally = other.tally
            note = str(other.newest.get("lifecycle", ""))
            if not tally.received:
                note = "none yet"
            elif tally.silent_s > SLOW_WINDOW_S:
                note = f"none for {tally.silent_s:.0f} s"
            if other.foreign:
                note += f", {other.foreign} not of this wire version"
            name = tally.topic.split(".")[0]
            rows.append(Row(name, tally.rate_hz, tally.ages_ms, tally.missed, note))
        if self._why_no_status:
            rows.append(Row("status", note=self._why_no_status))
        return rows

    def show_if_due(self) -> None:
        """Show everything if a second has passed."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + 1
        if self._console.is_terminal:
            parts = [_topics_table(self._camera, self.rows())]
            if self._newest:
                parts.append(_table(self._stream.names(self._newest), self._newest))
            self._live.update(Group(*parts))
        else:
            for row in self.rows():
                print(f"{self._camera}  {row.line()}", flush=True)
            if self._newest:
                frame_seq = self._newest.fields["frame_seq"]
                print(f"{self._camera}  frame {frame_seq} {exposed(self._newest)}", flush=True)


def status_address(camera: str, address: str, control: str | None) -> str:
    """Return where the run that publishes ``camera`` at ``address`` publishes its status.

    Raises
    ------
    LookupError
        The control port does not answer, or is another run's.
    """
    if control is None:
        raise LookupError("not asked for: no control port")
    try:
        told = ask("endpoints", control, CONTROL_TIMEOUT_S)
        data, status = told["data"], str(told["status"])
    except zmq.ZMQError as error:
        raise LookupError(f"{control}: cannot connect ({error.strerror})") from None
    except (TimeoutError, ValueError, KeyError, TypeError):
        raise LookupError(f"no answer from {control}; give --control") from None
    # localhost and 127.0.0.1 are the same place
    if str(data.get(camera, "")).rpartition(":")[2] != address.rpartition(":")[2]:
        raise LookupError(f"{control} belongs to another run; give --control")
    return status


def _topics_table(camera: str, rows: list[Row]) -> Table:
    table = Table()
    table.add_column(camera)
    for column in ("Hz", "sent -> received p50 ms", "max ms", "missed"):
        table.add_column(column, justify="right")
    table.add_column("")
    for row in rows:
        table.add_row(*row.cells())
    return table


def exposed(message: Message) -> str:
    """Return when a frame was exposed (s, the rig's clock), how surely, and how that is known."""
    fields = message.fields
    source, flags = fields.get("time_source"), int(fields["flags"])
    how = SOURCES.get(int(source), f"source {source}") if source is not None else "fast"
    sure = "calibrated" if not flags & Flag.UNCALIBRATED else "declared delay"
    return (
        f"exposed at {fields['exposure_ns'] * 1e-9:.6f} s +- "
        f"{fields['exposure_err_ns'] * 1e-6:.3f} ms ({how}, {sure})"
    )


def _table(names: list[str], message: Message) -> Table:
    table = Table(title=exposed(message), title_justify="left")
    table.add_column("keypoint")
    for column in ("x px", "y px", "score"):
        table.add_column(column, justify="right")
    if message.keypoints is not None:
        for name, (x, y, score) in zip(names, message.keypoints.tolist(), strict=True):
            style = "dim" if score < 0.5 else ""
            table.add_row(name, f"{x:.1f}", f"{y:.1f}", f"{score:.2f}", style=style)
    return table
