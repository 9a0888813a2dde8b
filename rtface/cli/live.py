"""Commands that run a stream or receive one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtface.cli.common import Seconds, naming, stop_switch
from rtface.cli.view import PORT, PagePort, SayPage, page_settings
from rtface.types import UserError

if TYPE_CHECKING:
    from rtface.config import Rig
    from rtface.run import Supervisor
    from rtface.terminal import StatusLine

Label = dict[str, str]


Record = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Record into a new folder in this one.")
]
Subject = Annotated[str, typer.Option(help="Name of the animal, for the recording.")]
Name = Annotated[str, typer.Option(help="Name of the session, for the recording.")]


def _with_record(rig: Rig, record: Path | None, subject: str, name: str) -> tuple[Rig, Label]:
    """Return the rig with ``--record`` in it, and what the session is called."""
    from rtface.control import LABEL

    for option, value in (("--subject", subject), ("--name", name)):
        if not LABEL.fullmatch(value):
            raise UserError(f"{option}: letters, digits, '_', '.' and '-' only, at most 64")
    if record is not None:
        section = rig.record.model_copy(update={"folder": str(record.absolute())})
        rig = rig.model_copy(update={"record": section})
    elif (subject or name) and rig.record.folder is None:
        raise UserError("--subject and --name go with --record DIR or [record] folder")
    return rig, {"subject": subject, "name": name}


def _end(supervisor: Supervisor) -> None:
    """Say what is left to say; a recording that broke off gives exit code 1."""
    from rtface.process import ChildDied
    from rtface.show import recording_summary
    from rtface.terminal import say

    if text := recording_summary(supervisor.status()["recording"]):
        say(text)
    for note in supervisor.notes:
        say(f"note: {note}")
    if supervisor.faults:
        raise ChildDied("; ".join(supervisor.faults))


def demo(
    seconds: Seconds = None,
    rate: Annotated[float, typer.Option(min=1, max=2000, help="Frames per second.")] = 100.0,
    seed: Annotated[int, typer.Option(min=0, max=999, help="Which mouse.")] = 7,
    closed_loop: Annotated[
        bool,
        typer.Option("--closed-loop", help="Whisks fire a simulated board, with every latency."),
    ] = False,
    with_page: Annotated[
        bool,
        typer.Option("--view/--no-view", help="Serve the live page, and open it in a browser."),
    ] = True,
    view_port: PagePort = PORT,
    record: Record = None,
    subject: Subject = "",
    name: Name = "",
) -> None:
    """Track a synthetic mouse, publish what is found, and compare it with the exact truth."""
    from contextlib import ExitStack

    from rtface.camera_config import SyntheticSection
    from rtface.demo import LoopReport, TruthCheck, closed_loop_rig, demo_rig
    from rtface.engine.bundle import load_bundle
    from rtface.run import run_rig
    from rtface.show import summary
    from rtface.terminal import StatusLine, say

    stack, rig, board = ExitStack(), demo_rig(rate, seed), None
    if closed_loop:
        from rtface.outputs import twin

        board = stack.enter_context(twin.running())
        rig = closed_loop_rig(rig, board.port)
    rig, label = _with_record(rig, record, subject, name)
    section = rig.camera["cam1"]
    assert isinstance(section, SyntheticSection)
    names = load_bundle(rig.engine.bundle).names
    page = page_settings(view_port) if with_page else None
    say_page = SayPage(view_port, open_it=True)
    check: list[TruthCheck] = []
    loops: list[LoopReport] = []
    with stack, StatusLine() as line:

        def on_start(supervisor: Supervisor) -> None:
            check.append(TruthCheck("cam1", section, names))
            if board is not None:
                loops.append(LoopReport(board.rises))
            _say_where(line, supervisor.endpoints)

        def on_turn(supervisor: Supervisor) -> None:
            for one in check:
                one.update()
            for loop in loops:
                for text in loop.update():
                    line.note(text)
            say_page(supervisor, line.note)
            line.show(supervisor.status())

        supervisor = run_rig(
            rig, stop_switch(), seconds, on_start, on_turn, label, closed_loop, page=page
        )
        for loop in loops:
            loop.update()
    say(summary(supervisor.status(), supervisor.unclean))
    for one in check:
        one.update()
        say(one.report())
        one.close()
    for loop in loops:
        say(loop.report())
        loop.close()
    _end(supervisor)


def run(
    rig_files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RIG.toml", help="One or several, of `rtface init`."),
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="Play this file as the camera instead of a rig file.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.1, max=2000, help="With --video: frames per second.")
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="With --video: start again.")] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="With --video: as fast as possible.")
    ] = False,
    bundle: Annotated[str, typer.Option(help="With --video: folder of the network.")] = "default",
    seconds: Seconds = None,
    armed: Annotated[
        bool,
        typer.Option(
            "--armed", help="Rules fire real lines, from the start on. Without: dry, disarmed."
        ),
    ] = False,
    with_page: Annotated[
        bool, typer.Option("--view", help="Serve the live page beside the run.")
    ] = False,
    view_port: PagePort = PORT,
    record: Record = None,
    subject: Subject = "",
    name: Name = "",
) -> None:
    """Track the cameras of one or several rig files (or one video) until Ctrl-C.

    The cameras of several files run together, on one clock: names of cameras must differ, and the
    sections [engine], [stream], [ring] and [record] be the same or left out of all files but one.
    """
    from rtface.accept.record import require_accepted
    from rtface.camera_config import VideoSection
    from rtface.config import EngineSection, Rig, load_rig
    from rtface.join import join_rigs
    from rtface.rigfile import RigFile
    from rtface.run import run_rig
    from rtface.show import summary
    from rtface.terminal import StatusLine, say

    files = rig_files or []
    if bool(files) == (video is not None):
        raise UserError("give either a rig file or --video FILE; 'rtface init' writes a rig file")
    rigs = []
    if files:
        if rate or loop or fast or bundle != "default":
            raise UserError(
                "--rate, --loop, --fast and --bundle go with --video; the rig file has its own"
            )
        rigs = [(path, load_rig(path)) for path in files]
        rig = join_rigs(rigs)
    else:
        section = VideoSection(kind="video", file=str(video), rate_hz=rate, loop=loop, fast=fast)
        network = bundle if bundle == "default" else str(Path(bundle).absolute())
        rig = Rig(name="video", camera={"cam1": section}, engine=EngineSection(bundle=network))
    rig, label = _with_record(rig, record, subject, name)
    page = page_settings(view_port) if with_page else None
    say_page = SayPage(view_port, open_it=False)

    def on_turn(supervisor: Supervisor) -> None:
        say_page(supervisor, line.note)
        line.show(supervisor.status())

    owners = {camera: path for path, one in rigs for camera in one.camera}
    on_disk = [RigFile(path, one) for path, one in rigs]
    with naming(" and ".join(str(path) for path in files), owners), StatusLine() as line:
        supervisor = run_rig(
            rig,
            stop_switch(),
            seconds,
            on_start=lambda supervisor: _say_where(line, supervisor.endpoints),
            on_turn=on_turn,
            label=label,
            armed=armed,
            may_arm=lambda: require_accepted(rigs),
            page=page,
            files={camera: file for file in on_disk for camera in file.rig.camera},
        )
    say(summary(supervisor.status(), supervisor.unclean))
    _end(supervisor)


def _say_where(line: StatusLine, endpoints: dict[str, Any]) -> None:
    for camera, address in endpoints["data"].items():
        listen = "rtface listen" if camera == "cam1" else f"rtface listen {camera} {address}"
        line.note(f"{camera} is published at {address}; see it with: {listen}")


def listen(
    camera: Annotated[str, typer.Argument(help="Name of the camera.")] = "cam1",
    address: Annotated[str, typer.Argument(help="Its data port.")] = "tcp://127.0.0.1:5581",
    json: Annotated[
        bool, typer.Option("--json", help="Every message as one JSON line on stdout.")
    ] = False,
    latest: Annotated[
        bool, typer.Option("--latest", help="Only the newest message, never older than 50 ms.")
    ] = False,
    topics: Annotated[
        str,
        typer.Option(
            help="Topics to count beside the keypoints' own, of pose, fast, motion, pupil, meta "
            "and status, with commas between. fast, motion and pupil have a cost: once somebody "
            "has asked for one the tracker sends one more message a frame until the run ends."
        ),
    ] = "meta,status",
    control: Annotated[
        str, typer.Option(help="Control port of the run, which says where its status is.")
    ] = "tcp://127.0.0.1:5580",
    seconds: Seconds = None,
) -> None:
    """Show what arrives: rate, age and gaps by topic and the keypoints, or JSON lines.

    The keypoints come from pose, with --latest from fast, the newest only. Age is the time from
    sent to received by this machine's clock; missed are numbers of seq that never came (with
    --latest also those passed over for newer ones).
    """
    from rtface.listen import TOPICS, listen_json, listen_table

    words = [word.strip() for word in topics.split(",") if word.strip()]
    if unknown := [word for word in words if word not in TOPICS]:
        raise UserError(f"--topics: there is no '{unknown[0]}'; choose from {', '.join(TOPICS)}")
    if json:
        listen_json(camera, address, latest, seconds, stop_switch())
    else:
        listen_table(camera, address, latest, seconds, stop_switch(), words, control)
