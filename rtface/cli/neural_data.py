"""What the commands of ``rtface neural`` are given: a session, and the activity beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rtface.types import UserError

if TYPE_CHECKING:
    from rtface.neural.activity import Activity
    from rtface.neural.behaviour import Behaviour
    from rtface.neural.data import DataFile
    from rtface.session import Session


class Loaded(NamedTuple):
    """All that a file names; the masks are those of motion that is an input."""

    data: DataFile
    behaviour: Behaviour
    activity: Activity
    masks: str | None
    about: dict[str, Any]


def load(path: Path) -> Loaded:
    """Return all that a file names."""
    from rtface.neural.behaviour import read_behaviour
    from rtface.neural.columns import choose
    from rtface.neural.data import load_activity, load_data_file
    from rtface.neural.readers.arrays import vector
    from rtface.neural.readers.frames import Clock
    from rtface.rules import layout_of
    from rtface.session import open_session
    from rtface.sync import readers
    from rtface.sync.readers.scanimage import frame_times

    data = load_data_file(path)
    edges_s = readers.read(Path(data.frame_clock), data.line).rising_s if data.frame_clock else None
    tiff_s = frame_times(Path(data.tiff)) if data.tiff else None
    activity = load_activity(data, Clock(edges_s, tiff_s))
    with open_session(data.session) as session:
        if data.camera is None and len(session.cameras) > 1:
            raise UserError(f"{path}: camera: which one? There are {', '.join(session.cameras)}")
        name = data.camera or next(iter(session.cameras))
        if name not in session.cameras:
            has = ", ".join(session.cameras)
            raise UserError(f"{path}: camera: the session has no '{name}'; there is {has}")
        camera = session.cameras[name]
        layout = layout_of(camera.about.meta)
        columns = choose(data.inputs, camera.names, layout, data.components, data.keypoints)
        given = vector(Path(data.frame_times)) if data.frame_times else None
        behaviour = read_behaviour(camera, columns, layout, name, given)
        needs_masks = any(column.name.startswith(("motion.", "movie.")) for column in columns)
        masks = _masks_of(session, name) if needs_masks else None
        about = {
            "session": session.about.session,
            "recording": session.about.recording,
            "camera": name,
            "from_s": float(activity.times_s[0]),
            "to_s": float(activity.times_s[-1]),
        }
    return Loaded(data, behaviour, activity, masks, about)


def _masks_of(session: Session, camera: str) -> str:
    """Return the identity of the masks that a camera had, also if they came during the run."""
    known = (session.cameras[camera].about.meta.get("motion") or {}).get("masks")
    for event in session.events:
        if event.kind == "masks" and event.fields.get("camera") == camera:
            known = event.fields.get("identity")
    if not known:
        raise UserError(
            f"{session.path}: {camera} had no masks, and so no motion components; leave 'motion' "
            "out of inputs, or record with masks"
        )
    return str(known)


def columns_of(loaded: Loaded, columns: Sequence[Any]) -> Behaviour:
    """Return the behaviour with the columns of a model, in its order."""
    behaviour = loaded.behaviour
    names = behaviour.names
    if lacking := [column.name for column in columns if column.name not in names]:
        raise UserError(f"the model needs {lacking[0]}, which inputs and keypoints do not choose")
    order = [names.index(column.name) for column in columns]
    from rtface.neural.behaviour import Behaviour as Made

    return Made(behaviour.t_ns, behaviour.times_s, behaviour.values[:, order], tuple(columns))
