"""The pupil live: on the wire and in the session, in one run with motion components."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from programs import RECORD, SYNTHETIC, only_session, running

import rtface
from rtface.camera.truth import SyntheticTruth
from rtface.camera_config import PupilSection
from rtface.pupil.record import FIELDS, Pupil, PupilFlag
from rtface.stages.pupil import PupilStage, pupil_stage
from rtface.types import CameraInfo, Flag, Pose, UserError

INFO = CameraInfo(48, 64, 8, 100.0)


class _Always:
    """Finds the same in every frame."""

    def __init__(self, record: Pupil) -> None:
        self._record = record

    def __call__(self, image: np.ndarray, pose: Pose) -> Pupil:
        return self._record


def test_every_flag_of_the_pupil_is_one_of_the_ledger() -> None:
    image, pose = np.zeros((48, 64), np.uint8), Pose(np.zeros((1, 3), np.float32))
    seen = {}
    for flag in PupilFlag:
        record = Pupil(*range(len(FIELDS)), flags=int(flag))
        stage = PupilStage(_Always(record), PupilSection())  # type: ignore[arg-type]
        seen[flag] = Flag(stage(image, pose))
        np.testing.assert_array_equal(stage.signals["pupil"], range(len(FIELDS)))
    assert seen == {
        PupilFlag.SHUT: Flag.EYE_SHUT,
        PupilFlag.BRIGHT: Flag.PUPIL_BRIGHT,
        PupilFlag.POLARITY_CHANGED: Flag.PUPIL_TURNED,
        PupilFlag.DISAGREES: Flag.PUPIL_DISAGREES,
        PupilFlag.NO_PUPIL: Flag.NO_PUPIL,
        PupilFlag.NO_BOX: Flag.NO_PUPIL,
    }


@pytest.mark.parametrize(
    ("section", "names", "words"),
    [
        ({"box": (60, 0, 20, 20)}, (), "camera.cam1.pupil: box 60,0,20,20: not inside"),
        ({}, ("nose(tip)",), "camera.cam1.pupil: box: the network has no eye"),
        ({"box": (0, 0, 20, 20), "saturation": 300.0}, (), "camera.cam1.pupil: saturation"),
    ],
)
def test_bad_sections_are_one_line(
    section: dict[str, object], names: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UserError, match=words) as caught:
        pupil_stage(PupilSection(**section), "cam1", names, INFO)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_keypoints_components_and_pupil_leave_together(tmp_path: Path, ring_dir: Path) -> None:
    more = "nuisances = false\n[camera.cam1.motion]\ncomponents = 10\nfit_s = 1\n"
    camera = SYNTHETIC.format(rate=50.0) + more + "[camera.cam1.pupil]\n"
    results_alone = RECORD.format(video="none")
    with running(tmp_path, "default", camera, extra=results_alone) as program:
        got = {}
        for topic in ("pose", "motion", "pupil"):
            with rtface.subscribe("cam1", program.data, topic=topic, timeout_s=5) as stream:
                got[topic] = list(itertools.islice(stream, 60))
                meta = stream.meta()
        code, _, err = program.stop()
    assert code == 0, err
    assert meta["pupil"]["fields"] == list(FIELDS)
    assert meta["topics"] == ["pose.cam1.", "fast.cam1.", "motion.cam1.", "pupil.cam1."]
    with rtface.open_session(only_session(tmp_path)) as session:
        recorded = session.cameras["cam1"]
        results, pupil = recorded.results[:], recorded.signal("pupil")
        table = recorded.to_pandas()
    np.testing.assert_array_equal(table["pupil_area_px2"], pupil[:, FIELDS.index("area_px2")])
    np.testing.assert_array_equal(table["motion_energy_full"], results["motion_energy"][:, 0])
    rows = {int(seq): i for i, seq in enumerate(results["seq"])}
    for message in got["pupil"]:
        np.testing.assert_array_equal(message.signals["pupil"], pupil[rows[message.seq]])
        order = ("t_read_ns", "t_infer_ns", "t_motion_ns", "t_pupil_ns", "t_rules_ns", "t_done_ns")
        times = [message.fields[name] for name in order]
        assert times == sorted(times)
        assert message.fields["t_pupil_ns"] > message.fields["t_motion_ns"]
    # where the synthetic mouse's pupil is, in full-frame px, once the face is found
    truth = SyntheticTruth(640, 480, 50.0, 1, False)
    open_eye = (results["flags"] & (Flag.EYE_SHUT | Flag.NO_PUPIL | Flag.NO_FACE)) == 0
    late = np.flatnonzero(open_eye)[-60:]
    assert len(late) == 60
    centre = np.array([truth.at(int(results["frame_id"][i])).pupil_px for i in late])
    edge = pupil[late][:, [FIELDS.index(name) for name in ("edge_x_px", "edge_y_px")]]
    off = np.hypot(*(edge - centre).T)
    assert np.median(off) < 2
