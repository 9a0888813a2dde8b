"""Info in the first pixels: made here as a camera makes it, read back from real files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from videofiles import MS, FakeTime, pictures, write

from rtface.acquire import Account
from rtface.camera import open_camera
from rtface.camera.embedded import (
    FIELDS,
    N_CHECKED,
    EmbeddedCamera,
    Follower,
    NotEmbedded,
    in_order,
    mask,
    pins,
    read_words,
)
from rtface.camera.video import VideoCamera
from rtface.camera_config import EmbeddedField, VideoSection
from rtface.types import CameraState, EndOfStream, Image, Lost, Stamp, UserError

WRAP_NS = 128_000_000_000
#: of one tick of 24.576 MHz: what is lost by writing a time
TICK_NS = 41
THREE: tuple[EmbeddedField, ...] = ("timestamp", "frame_counter", "gpio")


def cycle_time(t_ns: int) -> int:
    """The word that a camera writes at this time of its clock."""
    seconds, rest = divmod(t_ns % WRAP_NS, 1_000_000_000)
    count, offset = divmod(rest, 125_000)
    return seconds << 25 | count << 12 | offset * 3072 // 125_000


def stamped(image: Image, *words: int) -> Image:
    """The same picture with these words in its first pixels."""
    out = image.copy()
    out[0, : 4 * len(words)] = np.frombuffer(struct.pack(f">{len(words)}I", *words), np.uint8)
    return out


def one_row(*words: int) -> Image:
    return stamped(np.zeros((2, 40), np.uint8), *words)


def film(taken: list[int], first: int, t0_ns: int, period_ns: int) -> list[Image]:
    """Frames number ``taken`` of a camera whose counter began at ``first``; pin 1 in every third.

    Noise, so that a masked pixel cannot be right by chance.
    """
    return [
        stamped(
            image,
            cycle_time(t0_ns + number * period_ns),
            (first + number) % 2**32,
            0x40000000 if number % 3 == 0 else 0,
        )
        for image, number in zip(pictures(len(taken)), taken, strict=True)
    ]


def buffer(camera: EmbeddedCamera) -> Image:
    return np.empty((camera.info.height, camera.info.width), np.uint8)


def refused(camera: EmbeddedCamera, frames: int) -> str:
    """The one line with which frame number ``frames`` is refused, counts still adding up."""
    camera.start()
    out = buffer(camera)
    for _ in range(frames):
        assert camera.fill(out, 1.0)
    with pytest.raises(UserError) as caught:
        camera.fill(out, 1.0)
    produced, lost, _ = camera.counts()
    assert lost.incomplete == 1
    assert produced == frames + sum(lost)
    return str(caught.value)


def test_words_stand_in_the_order_of_the_camera() -> None:
    words = tuple(range(0x01020304, 0x01020304 + len(FIELDS)))
    told = read_words(one_row(*words), FIELDS)
    assert list(told) == [
        "timestamp",
        "gain",
        "shutter",
        "brightness",
        "exposure",
        "white_balance",
        "frame_counter",
        "strobe",
        "gpio",
        "roi",
    ]
    assert tuple(told.values()) == words
    # what is off takes no room, whatever the order in the rig file
    fields = in_order(["gpio", "timestamp"])
    assert fields == ("timestamp", "gpio")
    assert read_words(one_row(7, 9), fields) == {"timestamp": 7, "gpio": 9}


def test_the_bytes_of_one_frame() -> None:
    # 5 s, 4000 cycles, half a cycle; frame 258; pins 0 and 3; by hand from the layout
    pixels = [0x0A, 0xFA, 0x06, 0x00, 0, 0, 1, 2, 0x90, 0, 0, 0]
    image = np.zeros((4, 16), np.uint8)
    image[0, :12] = pixels
    told = Follower(THREE)(image)
    assert told.t_ns == 5_500_062_500
    assert told.frame == 0
    assert told.words["frame_counter"] == 258
    assert told.line_status == 0b1001


def test_pins_of_a_gpio_word() -> None:
    assert [pins(word) for word in (0x80000000, 0x40000000, 0x20000000, 0x10000000)] == [1, 2, 4, 8]
    assert pins(0x0FFFFFFF) == 0
    assert pins(0xF0000000) == 15


def test_mask_changes_nothing_else() -> None:
    image = pictures(1, 8, 48)[0]
    masked = image.copy()
    mask(masked, 3)
    np.testing.assert_array_equal(masked[0, :12], image[1, :12])
    masked[0, :12] = image[0, :12]
    np.testing.assert_array_equal(masked, image)


@given(
    st.integers(0, WRAP_NS - 1),
    st.lists(st.integers(1 * MS, 63_999 * MS), min_size=1, max_size=40),
)
def test_time_grows_across_any_wraps(t0_ns: int, gaps_ns: list[int]) -> None:
    follow, t_ns = Follower(["timestamp"]), t0_ns
    first = before = follow(one_row(cycle_time(t0_ns))).t_ns
    assert first is not None
    assert t0_ns - TICK_NS <= first <= t0_ns
    for gap_ns in gaps_ns:
        t_ns += gap_ns
        told = follow(one_row(cycle_time(t_ns)))
        assert told.t_ns is not None
        assert told.t_ns > before
        assert abs(told.t_ns - t_ns) <= TICK_NS
        assert told.frame is None
        before = told.t_ns


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 10_000)), min_size=1, max_size=40),
)
def test_counter_grows_across_any_wraps(first: int, steps: list[tuple[int, int]]) -> None:
    follow, true = Follower(["frame_counter"]), 0
    assert follow(one_row(first)).frame == 0
    for passed_over, missing in steps:
        true += passed_over + missing
        assert follow(one_row((first + true) % 2**32), passed_over).frame == true


@given(st.integers(1, 20), st.integers(0, WRAP_NS - 1), st.floats(1.0, 900.0))
def test_many_missing_frames_are_minutes(n: int, t0_ns: int, silent_s: float) -> None:
    """The counter says how many frames are missing, and so how often the clock wrapped."""
    period_ns = 10 * MS
    follow = Follower(["timestamp", "frame_counter"])
    for number in [*range(N_CHECKED + n), N_CHECKED + n + round(silent_s * 100)]:
        t_ns = t0_ns + number * period_ns
        told = follow(one_row(cycle_time(t_ns), number))
        assert told.t_ns is not None
        assert abs(told.t_ns - t_ns) <= TICK_NS


def test_untrustworthy_low_bits_do_no_harm() -> None:
    follow = Follower(["timestamp"])
    for number in range(300):
        word = cycle_time(number * 10 * MS) & ~0xF | number * 7 % 16
        told = follow(one_row(word))
        assert told.t_ns is not None
        assert abs(told.t_ns - number * 10 * MS) < 700


def test_a_recording_with_missing_frames_across_both_wraps(tmp_path: Path) -> None:
    taken = [n for n in range(60) if n not in (3, 20, 21, 22, 40)]
    period_ns = 20 * MS
    t0_ns = WRAP_NS - 25 * period_ns  # frame 25 is in the next 128 s
    images = film(taken, 2**32 - 30, t0_ns, period_ns)  # and the counter of frame 30 is 0
    clip = write(tmp_path / "film.mkv", "ffv1", "gray", images)
    fake = FakeTime()
    inner = VideoCamera(clip, clock=fake.clock, sleep=fake.sleep)
    camera = EmbeddedCamera("cam1", inner, ("gpio", "timestamp", "frame_counter"))
    assert camera.info == inner.info
    assert camera.first_id == 0
    camera.start()
    account, out = Account(camera.first_id), buffer(camera)
    stamps: list[Stamp] = []
    try:
        while True:
            if len(stamps) == 30:
                fake.now += 90 * MS  # the player is late and passes some over
            stamp = camera.fill(out, 1.0)
            assert stamp is not None
            account.take(stamp, camera)
            image = images[taken.index(stamp.frame_id)]
            np.testing.assert_array_equal(out[0, :12], image[1, :12])
            np.testing.assert_array_equal(out[0, 12:], image[0, 12:])
            np.testing.assert_array_equal(out[1:], image[1:])
            stamps.append(stamp)
            told = account.counts(camera)
            assert told["produced"] == told["delivered"] + told["lost_camera"]
            assert camera.counts().lost == account.lost
    except EndOfStream:
        account.finish(camera)
    late = camera.counts().lost.late
    assert 2 <= late <= 5
    assert camera.counts() == (60, Lost(link=5, late=late), 0)
    assert len(stamps) == 55 - late
    for stamp in stamps:
        assert stamp.t_camera_ns is not None
        assert abs(stamp.t_camera_ns - (t0_ns + stamp.frame_id * period_ns)) <= TICK_NS
        assert stamp.line_status == (2 if stamp.frame_id % 3 == 0 else 0)
    assert (np.diff([stamp.frame_id for stamp in stamps]) > 0).all()
    camera.close()
    camera.close()


def test_frames_passed_over_before_the_first_are_late_ones(tmp_path: Path) -> None:
    images = film(list(range(10)), 1000, 0, 20 * MS)
    clip = write(tmp_path / "film.mkv", "ffv1", "gray", images)
    fake = FakeTime()
    inner = VideoCamera(clip, clock=fake.clock, sleep=fake.sleep)
    camera = EmbeddedCamera("cam1", inner, THREE)
    camera.start()
    fake.now += 100 * MS
    stamp = camera.fill(buffer(camera), 1.0)
    assert stamp is not None
    assert stamp.frame_id == 3
    assert camera.counts() == (4, Lost(late=3), 0)


def test_timestamp_alone_leaves_the_ids_of_the_player(tmp_path: Path) -> None:
    images = [
        stamped(image, cycle_time(number * 20 * MS)) for number, image in enumerate(pictures(5))
    ]
    clip = write(tmp_path / "film.avi", "ffv1", "gray", images)
    section = VideoSection(kind="video", file=str(clip), fast=True, embedded=("timestamp",))
    camera = open_camera("cam1", section)
    assert isinstance(camera, EmbeddedCamera)
    assert camera.state == CameraState.READY
    camera.start()
    assert camera.state == CameraState.RUNNING
    stamps = [camera.fill(buffer(camera), 1.0) for _ in range(5)]
    assert [stamp and stamp.frame_id for stamp in stamps] == [0, 1, 2, 3, 4]
    assert [stamp and stamp.t_camera_ns for stamp in stamps] == [n * 20 * MS for n in range(5)]
    assert camera.counts() == (5, Lost(), 0)


def test_without_embedded_a_video_is_a_video(tmp_path: Path) -> None:
    clip = write(tmp_path / "film.avi", "ffv1", "gray", pictures(2))
    assert isinstance(open_camera("cam1", VideoSection(kind="video", file=str(clip))), VideoCamera)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "gray"])
def test_a_film_compressed_with_loss_is_refused_when_opened(tmp_path: Path, pix_fmt: str) -> None:
    images = film(list(range(40)), 123_456, 0, 20 * MS)
    clip = write(tmp_path / "film.mkv", "libx264", pix_fmt, images, codec_options={"crf": "18"})
    section = VideoSection(kind="video", file=str(clip), embedded=THREE)
    with pytest.raises(UserError, match=r"^camera.cam1.embedded: frame \d+: .*lossless") as caught:
        open_camera("cam1", section)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([(0, 5), (20, 4)], "frame_counter goes from 5 to 4, not upwards"),
        ([(0, 5), (20, 5)], "not upwards"),
        ([(0, 5), (20, 500_000)], "frame_counter leaps from 5 to 500000"),
        ([(20, 5), (20, 6)], "stands still"),
        ([(20, 5), (19, 6)], "runs backwards"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, words: list[tuple[int, int]], why: str
) -> None:
    images = [
        stamped(image, cycle_time(t_ms * MS), counter)
        for image, (t_ms, counter) in zip(pictures(len(words)), words, strict=True)
    ]
    clip = write(tmp_path / "film.mkv", "ffv1", "gray", images)
    section = VideoSection(
        kind="video", file=str(clip), fast=True, embedded=("timestamp", "frame_counter")
    )
    with pytest.raises(UserError, match=r"^camera.cam1.embedded: frame 1: ") as caught:
        open_camera("cam1", section)
    assert why in str(caught.value)
    inner = VideoCamera(clip, as_fast_as_possible=True)
    message = refused(EmbeddedCamera("cam1", inner, section.embedded), 1)
    assert message == str(caught.value)


def test_other_fields_than_the_camera_wrote(tmp_path: Path) -> None:
    images = film(list(range(30)), 0, 0, 20 * MS)  # the counter where the time is looked for
    clip = write(tmp_path / "film.mkv", "ffv1", "gray", images)
    section = VideoSection(kind="video", file=str(clip), embedded=("frame_counter", "gpio"))
    with pytest.raises(UserError, match=r"camera.cam1.embedded: frame 1: frame_counter leaps"):
        open_camera("cam1", section)


def test_late_in_a_film_only_a_counter_that_falls_back_is_refused() -> None:
    follow = Follower(["timestamp", "frame_counter"])
    for number in range(N_CHECKED):
        follow(one_row(cycle_time(number * 10 * MS), number))
    # 100 s without a frame, then many lost at once
    assert follow(one_row(cycle_time(101_000 * MS), N_CHECKED)).t_ns == 101_000 * MS
    assert follow(one_row(cycle_time(102_000 * MS), 50_000)).frame == 50_000
    with pytest.raises(NotEmbedded, match="not upwards"):  # fewer than the film itself has
        follow(one_row(cycle_time(103_000 * MS), 50_002), 3)
    with pytest.raises(NotEmbedded, match="not upwards"):
        follow(one_row(cycle_time(104_000 * MS), 49_999))


def test_frames_need_room(tmp_path: Path) -> None:
    small = write(tmp_path / "small.mkv", "ffv1", "gray", pictures(1, 32, 36))
    section = VideoSection(kind="video", file=str(small), embedded=FIELDS)
    with pytest.raises(UserError, match=r"camera.cam1.embedded: 10 fields are 40 px"):
        open_camera("cam1", section)
    deep = write(tmp_path / "deep.mkv", "ffv1", "gray12le", pictures(1, bits=12))
    with pytest.raises(UserError, match=r"camera.cam1.embedded: .* of 12 bits"):
        open_camera("cam1", section.model_copy(update={"file": str(deep)}))
