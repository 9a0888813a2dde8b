"""The doctor: judgements with made-up values, and the real command on this machine."""

import json
import math
import os
import pty
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import free_ports, make_bundle, write_manifest
from programs import RTFACE, SMALL, running

import rtface
from rtface.doctor import Step, clock, cpu, gpu, ports, priority, software, storage
from rtface.doctor.finding import Finding, Verdict, fault_of, worst
from rtface.types import UserError

OK, HINT, FAULT = Verdict.OK, Verdict.HINT, Verdict.FAULT
TOPICS = [
    "software",
    "network",
    "rings",
    "clock",
    "processor",
    "priority",
    "ports",
    "disk",
    "GPU",
]


def doctor(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RTFACE, "doctor", *map(str, words)], capture_output=True, text=True, check=False
    )


def written(mb_per_s: float) -> storage.Written:
    return storage.Written(64_000_000, 64 / mb_per_s, 0.01)


JUDGED: list[tuple[Callable[[], Finding], Verdict, str]] = [
    (lambda: software.judge_python((3, 11, 7)), OK, ""),
    (lambda: software.judge_python((3, 14, 0)), HINT, "3.11 to 3.13"),
    (lambda: software.judge_python((3, 10, 9)), HINT, "3.11 to 3.13"),
    (lambda: software.judge_package("av", "18.1.0"), OK, ""),
    (lambda: software.judge_package("av", None), FAULT, "pip install --force-reinstall av"),
    (lambda: software.judge_package("av", "18", "no libavcodec"), FAULT, "force-reinstall av"),
    (lambda: software.judge_optional("torch", None, "training", "train"), OK, ""),
    (lambda: software.judge_engine("x", [2.0] * 99 + [4.0], 0.1, True), OK, ""),
    (lambda: software.judge_engine("x", [20.0] * 100, 0.1, True), HINT, "at most 50 Hz"),
    (lambda: software.judge_engine("null", [], 0.1, False), OK, ""),
    (lambda: software.judge_providers(["CPUExecutionProvider"]), OK, ""),
    (lambda: software.judge_providers(["CUDAExecutionProvider"]), FAULT, "onnxruntime"),
    (lambda: storage.judge_ring_folder("/dev/shm/x", "tmpfs"), OK, ""),
    (lambda: storage.judge_ring_folder("C:/x", None), OK, ""),
    (lambda: storage.judge_ring_folder("/home/x", "ext4"), HINT, "RTFACE_RING_DIR"),
    (lambda: storage.judge_ring_room(24e9), OK, ""),
    (lambda: storage.judge_ring_room(67e6), HINT, "remount,size="),
    (lambda: storage.judge_ring_room(63e6), FAULT, "--shm-size="),
    (lambda: storage.judge_disk_kind("/data", "ext4"), OK, ""),
    (lambda: storage.judge_disk_kind("/data", "nfs4"), HINT, "copy afterwards"),
    (lambda: storage.judge_disk_kind("/data", "fuse.sshfs"), HINT, "copy afterwards"),
    (lambda: storage.judge_disk_speed(written(500)), OK, ""),
    (lambda: storage.judge_disk_speed(written(100)), HINT, "SSD"),
    (lambda: storage.judge_disk_room(1e12), OK, ""),
    (lambda: storage.judge_disk_room(1e9), HINT, "--disk"),
    (lambda: clock.judge_perf_counter("CLOCK_MONOTONIC", 50, 60), OK, ""),
    (lambda: clock.judge_perf_counter("QueryX", 15_600_000, 60), HINT, "clocksource"),
    (lambda: clock.judge_perf_counter("CLOCK_MONOTONIC", 50, 2500), HINT, "clocksource"),
    (lambda: clock.judge_clocksource("tsc", ["tsc", "hpet"]), OK, ""),
    (lambda: clock.judge_clocksource("kvm-clock", ["kvm-clock"]), OK, ""),
    (lambda: clock.judge_clocksource("hpet", ["tsc", "hpet"]), HINT, "echo tsc | sudo tee"),
    (lambda: clock.judge_clocksource("hpet", ["hpet", "acpi_pm"]), HINT, "dmesg"),
    (lambda: clock.judge_clocksource(None, []), OK, ""),
    (lambda: clock.judge_wall_clock(-900_000, 3.0), OK, ""),  # NTP slewing at 300 ppm
    (lambda: clock.judge_wall_clock(40_000_000, 3.0), HINT, "chrony"),
    (lambda: clock.judge_wall_clock(40_000_000, 0.1), OK, ""),
    (lambda: clock.judge_sleep([0.06] * 300), OK, ""),
    (lambda: clock.judge_sleep([0.06] * 290 + [8.0] * 10), HINT, "real-time"),
    (lambda: cpu.judge_cores("CPU", 8, 8), OK, ""),
    (lambda: cpu.judge_cores("CPU", 1.5, 8), HINT, "two cores"),
    (lambda: cpu.judge_cores("CPU", 20, 20, 12), OK, ""),
    (lambda: cpu.judge_vectors("x86_64", {"avx2", "avx512f"}), OK, ""),
    (lambda: cpu.judge_vectors("x86_64", {"sse2"}), HINT, "AVX2"),
    (lambda: cpu.judge_vectors("aarch64", {"asimd"}), OK, ""),
    (lambda: cpu.judge_vectors("x86_64", None), OK, ""),
    (lambda: cpu.judge_governor({"performance"}), OK, ""),
    (lambda: cpu.judge_governor({"performance", "powersave"}), HINT, "scaling_governor"),
    (lambda: cpu.judge_governor(set()), OK, ""),
    (lambda: cpu.judge_throttling(0), OK, ""),
    (lambda: cpu.judge_throttling(7), HINT, "fan"),
    (lambda: cpu.judge_throttling(None), OK, ""),
    (lambda: cpu.judge_virtual(None, 0.0), OK, ""),
    (lambda: cpu.judge_virtual("QEMU", 0.2), OK, ""),
    (lambda: cpu.judge_virtual("QEMU", 12.0), HINT, "pin"),
    (lambda: cpu.judge_virtual("QEMU", None), OK, ""),
    (lambda: cpu.judge_load(0.3, 8), OK, ""),
    (lambda: cpu.judge_load(7.0, 8), HINT, "top"),
    (lambda: cpu.judge_load(None, 8), OK, ""),
    (lambda: priority.judge_real_time(True, 0, "ann"), OK, ""),
    (lambda: priority.judge_real_time(None, None, ""), OK, ""),
    (lambda: priority.judge_real_time(False, 0, "ann"), HINT, "echo 'ann - rtprio 50'"),
    (lambda: priority.judge_real_time(False, 50, "ann"), HINT, "--cap-add SYS_NICE"),
    (lambda: priority.judge_real_time(False, -1, "ann"), HINT, "--cap-add SYS_NICE"),
    (lambda: priority.state_memlock(-1), OK, ""),
    (lambda: ports.judge_free([5580, 5581, 5583]), OK, ""),
    (lambda: ports.judge_taken(5581, "x (process 7)", None), FAULT, "[stream]"),
    (lambda: ports.judge_taken(5589, None, None), HINT, "rig file"),
    (lambda: ports.judge_taken(5580, None, "control, rig 'a'"), HINT, "other ports"),
    (lambda: ports.judge_taken(5581, None, "data of cam1, rig 'a'"), OK, ""),
    (lambda: gpu.state_gpu(None, None), OK, ""),
    (lambda: gpu.state_gpu("NVIDIA H100, 570.1", "570.1"), OK, ""),
]


@pytest.mark.parametrize(("judge", "verdict", "remedy"), JUDGED)
def test_judgements(judge: Callable[[], Finding], verdict: Verdict, remedy: str) -> None:
    finding = judge()
    assert finding.verdict is verdict
    assert remedy in finding.remedy
    assert bool(finding.remedy) is (verdict is not OK)
    assert finding.value


def test_values_are_told() -> None:
    assert "12.0 %" in cpu.judge_virtual("QEMU", 12.0).value
    assert "holds 250 Hz" in software.judge_engine("x", [4.0] * 9, 0.1, True).value
    assert software.judge_engine("x", [4.0] * 9, 0.1, True).measured["p99_ms"] == 4
    assert "not visible" in cpu.judge_governor(set()).value
    assert "rtface[train]" in software.judge_optional("torch", None, "training", "train").value
    assert "pip install pylsl" in software.judge_optional("pylsl", None, "LSL", None).value
    assert "63 MB free: 1.0 s" in storage.judge_ring_room(63e6).value
    assert "400.0 s" in storage.judge_ring_room(400 * 640 * 480 * 200).value
    assert ports.judge_free([8780, 5583, 5581, 5580]).value == "5580-5581, 5583, 8780"
    assert "docs/gpu.md" in gpu.state_gpu("NVIDIA H100, 570.1", None).value


def test_what_is_not_good_has_a_remedy() -> None:
    with pytest.raises(ValueError, match="remedy"):
        Finding("x", "bad", HINT)
    fault = fault_of("x", UserError("a: is wrong (b; c); mend a, or b"))
    assert (fault.value, fault.remedy) == ("a: is wrong (b; c)", "mend a, or b")
    assert fault_of("x", UserError("a is wrong")).remedy
    assert worst([Finding("x", ""), fault]) is FAULT
    assert worst([]) is OK


def test_extras_are_read_from_the_packages_own_requirements() -> None:
    requirements = [
        "numpy>=1.26",
        "torch==2.13.0; extra == 'test'",
        "torch==2.13.0; extra == 'train'",
        'python-osc>=1.8; extra == "osc"',
    ]
    assert software.extra_that_brings("torch", requirements) == "train"
    assert software.extra_that_brings("python-osc", requirements) == "osc"
    assert software.extra_that_brings("numpy", requirements) is None


def test_the_file_system_of_a_folder() -> None:
    mounts = (
        "tmpfs /dev/shm tmpfs rw 0 0\n"
        "lab:/data /mnt/my\\040data nfs4 rw 0 0\n"
        "/dev/sdb /mnt/my\\040data/local xfs rw 0 0\n"
        "/dev/sda / ext4 rw 0 0\n"
    )
    for folder, kind in (
        ("/home/ann", "ext4"),
        ("/dev/shm/rtface-0", "tmpfs"),
        ("/dev/shmoo", "ext4"),
        ("/mnt/my data", "nfs4"),
        ("/mnt/my data/local/a", "xfs"),
    ):
        assert storage.filesystem_of(Path(folder), mounts) == kind
    assert storage.filesystem_of(Path("/a"), "") is None


@pytest.mark.slow
def test_doctor_on_this_machine(tmp_path: Path, tiny_bundle: Path, ring_dir: Path) -> None:
    start = time.monotonic()
    done = doctor("--json", "--disk", tmp_path, "--bundle", tiny_bundle)
    assert time.monotonic() - start < 150
    told = json.loads(done.stdout)
    findings = told["findings"]
    assert list(dict.fromkeys(one["topic"] for one in findings)) == TOPICS
    assert told["rtface"] == rtface.__version__
    # other programs may have a port or all the memory just now; nothing else prevents running
    faults = [one for one in findings if one["verdict"] == "fault"]
    assert all(one["topic"] in ("ports", "rings") for one in faults), faults
    assert done.returncode == (2 if faults else 0), done.stderr
    assert all(one["remedy"] for one in findings if one["verdict"] != "ok")
    by_name = {one["what"]: one for one in findings}
    assert by_name["runtime onnxruntime"]["measured"]["holds_hz"] > 10
    assert 0 < by_name["perf_counter"]["measured"]["step_ns"] < 1e6
    assert 0 < by_name["wake-up"]["measured"]["p50_ms"] < 100
    assert by_name["writing"]["measured"]["bytes_per_s"] > 1e5
    assert list(tmp_path.iterdir()) == []
    assert list(ring_dir.iterdir()) == []


def test_faults_are_told_in_plain_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    (bundle / "model.onnx").write_bytes(b"damaged")
    monkeypatch.setenv("RTFACE_RING_DIR", "/proc/none")
    done = doctor("--disk", "/proc", "--bundle", bundle)
    assert done.returncode == 2
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    for start, value, remedy in (
        ("  fault  folder ", "/proc/none: cannot make the ring directory", "set RTFACE_RING_DIR"),
        ("  fault  network ", "model.onnx: damaged", "export or copy the bundle again"),
        ("  hint   free ", "0 GB: 0 minutes", "rtface doctor --disk DIR"),
    ):
        at = next(i for i, line in enumerate(lines) if line.startswith(start))
        assert value in lines[at]
        assert remedy in lines[at + 1]
        assert lines[at + 1].startswith(" " * 8)
    assert "cannot run until" in lines[-1]


def test_a_terminal_gets_colours_and_whole_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTFACE_RING_DIR", "/proc/none")
    reader, writer = pty.openpty()
    popen = subprocess.Popen(
        [RTFACE, "doctor", "--bundle", "none", "--disk", str(tmp_path)],
        stdout=writer,
        stderr=writer,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "50"},
    )
    os.close(writer)
    parts = []
    try:
        while part := os.read(reader, 65536):
            parts.append(part)
    except OSError:  # how Linux says that nobody is at the other end
        pass
    os.close(reader)
    assert popen.wait(20) == 2
    seen = b"".join(parts).decode()
    assert "\x1b[1;31mfault" in seen
    assert "sleeping 300 times" in seen  # what is being done
    assert "make it writable or set RTFACE_RING_DIR to a folder in memory" in seen  # one line


def test_a_network_that_gives_wrong_keypoints_is_a_fault(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    with np.load(bundle / "reference.npz") as data:
        moved = dict(data)
    moved["keypoints"] = moved["keypoints"] + np.float32([3, 0, 0])
    np.savez_compressed(bundle / "reference.npz", **moved)
    write_manifest(bundle, ["eye(back)", "eye(front)", "nose(tip)"])
    found = {one.what: one for one in software.look_at_engines(str(bundle))}
    assert found["runtime onnxruntime"].verdict is FAULT
    assert "by 3.00 px" in found["runtime onnxruntime"].value
    assert "export the bundle again" in found["runtime onnxruntime"].remedy
    assert found["runtime null"].verdict is OK


@pytest.mark.slow
def test_taken_ports_are_found_with_who_has_them(tmp_path: Path, tiny_bundle: Path) -> None:
    with running(tmp_path, tiny_bundle, SMALL) as program, socket.socket() as foreign:
        foreign.bind(("127.0.0.1", 0))
        foreign.listen()
        port, free = foreign.getsockname()[1], free_ports(1)[0]
        data = int(program.data.rsplit(":", 1)[1])
        found = ports.look_at_ports([program.control, data, port, free], program.control)
        by_name = {one.what: one for one in found}
        assert by_name["free ports"].value == str(free)
        assert "a running rtface: control, rig 'rig'" in by_name[f"port {program.control}"].value
        assert by_name[f"port {program.control}"].verdict is HINT
        assert "data of cam1" in by_name[f"port {data}"].value
        assert by_name[f"port {data}"].verdict is OK
        assert f"(process {os.getpid()})" in by_name[f"port {port}"].value
        # a control port that never answers is no rtface's
        found = ports.look_at_ports([port], port)
        assert f"(process {os.getpid()})" in found[1].value


def test_cores_that_may_not_be_used_do_not_count() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        one = cpu.look_at_cpu(None, None)[0]
    finally:
        os.sched_setaffinity(0, allowed)
    assert one.measured["usable_cores"] <= 1
    assert one.verdict is HINT


def test_a_containers_quota() -> None:
    assert cpu.quota_cores("150000 100000") == 1.5
    assert cpu.quota_cores("max 100000") == cpu.quota_cores(None) == math.inf


def test_governor_and_throttling_are_read(tmp_path: Path) -> None:
    assert cpu.governors(tmp_path) == set()
    assert cpu.throttled(tmp_path) is None
    for core, governor, events in (("cpu0", "powersave", 3), ("cpu11", "performance", 12)):
        for name, text in (
            ("cpufreq/scaling_governor", governor),
            ("thermal_throttle/package_throttle_count", str(events)),
        ):
            path = tmp_path / core / name
            path.parent.mkdir(parents=True)
            path.write_text(f"{text}\n")
    assert cpu.governors(tmp_path) == {"powersave", "performance"}
    assert cpu.throttled(tmp_path) == 12


@pytest.mark.parametrize(("topic", "verdict"), [("network", FAULT), ("GPU", HINT)])
def test_a_look_that_fails_is_a_finding(topic: str, verdict: Verdict) -> None:
    def look() -> list[Finding]:
        raise RuntimeError("strange machine")

    (found,) = Step(topic, "looking", look).findings()
    assert found.verdict is verdict
    assert "RuntimeError: strange machine" in found.value


def test_the_doctor_keeps_no_priority() -> None:
    before = os.sched_getscheduler(0)
    found = priority.look_at_priority()
    assert os.sched_getscheduler(0) == before
    assert [one.what for one in found] == ["real-time", "memlock"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    missing = tmp_path / "gone"
    found = storage.look_at_disk(missing)
    assert found[-1].verdict is HINT
    assert "cannot be written" in found[-1].value


def test_fast_cores_are_said_where_others_are_slow() -> None:
    told = cpu.judge_cores("CPU", 20, 20, 12).value
    assert told == "CPU, 20 core(s), 12 of them fast: camera and tracker use those"
    assert "fast" not in cpu.judge_cores("CPU", 20, 20).value
