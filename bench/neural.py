"""What a prediction of neural activity costs per frame, and a fit of many neurons.

python bench/neural.py              # cost per frame, what patience buys
python bench/neural.py --large DIR  # also 34 000 neurons x 20 000 samples, in a file there
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import _report
import numpy as np

from rtface.neural.activity import make_activity
from rtface.neural.bundle import save_bundle
from rtface.neural.columns import Column
from rtface.neural.fit import Settings, fit_linear, prepare
from rtface.neural.model import Common, Keypoints, Linear
from rtface.neural.network import Network
from rtface.neural.scaling import untold
from rtface.neural.scores import mean_interval
from rtface.neural.simulate import simulate
from rtface.stages.neural import NeuralStage
from rtface.types import Pose

#: Facemap's network for its 15 keypoints
POINTS, TAPS, KERNELS, MEDIUM, LATENTS, OUTPUTS = 15, 201, 10, 50, 256, 128
PERIOD_NS = 10_000_000


def models() -> dict[str, Any]:
    """Return models of 15 keypoints; weights do not matter for what they cost."""
    random = np.random.default_rng(0)

    def some(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)

    n = 2 * POINTS
    columns = tuple(Column(f"k{i // 2}.{'xy'[i % 2]}", "face") for i in range(n))

    def common(outputs: int) -> Common:
        names = tuple(f"component{i}" for i in range(outputs))
        return Common(columns, untold(columns), names, 0.0, None)

    def network(taps: int) -> Network:
        return Network(
            *(some(n, n), some(n), some(taps, KERNELS)),
            *(some(n * KERNELS, MEDIUM), some(MEDIUM), some(MEDIUM, LATENTS), some(LATENTS)),
            *(some(LATENTS, OUTPUTS), some(OUTPUTS)),
        )

    taus = (0.0, 0.05, 0.15, 0.5, 1.5)
    found: dict[str, Any] = {
        f"ridge, 30 numbers x 5 filters, {outputs} outputs": Linear(
            common(outputs), taus, some(outputs, n * 5), some(outputs)
        )
        for outputs in (32, 128)
    }
    for taps in (TAPS, 51):
        name = f"Facemap's network, {taps} samples, {OUTPUTS} outputs"
        found[name] = Keypoints(common(OUTPUTS), network(taps), PERIOD_NS)
    return found


class _Bundle:
    """What a stage needs of a bundle; nothing is read from a disk."""

    folder, sha256 = Path("bench"), "0" * 64

    def __init__(self, model: Any) -> None:
        self.model = model


def cost(n: int) -> list[dict[str, Any]]:
    """Return the time of the stage per frame, as the tracker calls it."""
    random = np.random.default_rng(1)
    names = [f"k{i}" for i in range(POINTS)]
    poses = [
        Pose(np.column_stack([random.normal(300, 20, (POINTS, 2)), np.ones(POINTS)]).astype("f4"))
        for _ in range(200)
    ]
    for pose in poses[::5]:  # in every fifth frame some are not known
        pose.keypoints[random.permutation(POINTS)[:4], 2] = 0
    stages = {
        name: NeuralStage(_Bundle(model), names, {})  # type: ignore[arg-type]
        for name, model in models().items()
    }
    times: dict[str, list[int]] = {name: [] for name in stages}
    for i in range(n):  # side by side, so that a slow moment of the machine hits all of them
        for name, stage in stages.items():
            start = time.perf_counter_ns()
            stage((i + 1) * PERIOD_NS, poses[i % 200], {})
            times[name].append(time.perf_counter_ns() - start)
    return [{"model": name, **_report.summary_us(np.array(ns))} for name, ns in times.items()]


def patience(seconds: float, waits_ms: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return what waiting buys: ridge on a session whose neurons follow 50 to 500 ms later."""
    made = simulate(seconds=seconds, per_region=20, sample_s=0.02, noise=1.0, seed=2)
    # neurons that lead: what they do is seen later in the face
    driven = make_activity(made.activity.values, made.activity.times_s - 0.2, "led")
    rows = []
    for wait_ms in waits_ms:
        row: dict[str, Any] = {"patience_ms": wait_ms}
        for name, activity in (("neurons that follow", made.activity), ("that lead", driven)):
            settings = Settings((0.0, 0.05, 0.15, 0.5), wait_ms / 1e3, gap_s=3.0)
            data = prepare(made.behaviour, activity, settings)[0].data
            found = mean_interval(data.scores(), {0: 1.0}).value
            control = mean_interval(data.scores(shuffled=True), {0: 1.0}).value
            row[f"{name}, %"] = round(100 * float(found), 2)
            row[f"{name}, shuffled, %"] = round(100 * float(control), 2)
        rows.append(row)
    return rows


class _Memory:
    """Watches the memory that is this process's own: pages of mapped files can be dropped."""

    def __init__(self) -> None:
        self._peak_kb, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            lines = Path("/proc/self/status").read_text().splitlines()
            now = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self._peak_kb = max(self._peak_kb, now)

    def stop(self) -> int:
        """Return the peak, MB."""
        self._stop.set()
        self._thread.join()
        return round(self._peak_kb / 1024)


def large(folder: Path, neurons: int, samples: int) -> dict[str, Any]:
    """Return time and memory of cross-validating and fitting many neurons in a file."""
    made = simulate(seconds=samples * 0.31, rate_hz=50, sample_s=0.31 // 0.02 * 0.02, per_region=25)
    base = made.activity.values[:, :samples]
    path = folder / "large.npy"
    values = np.lib.format.open_memmap(path, "w+", np.float32, (neurons, base.shape[1]))
    random = np.random.default_rng(0)
    for start in range(0, neurons, 1000):
        part = base[np.arange(start, min(start + 1000, neurons)) % len(base)]
        values[start : start + 1000] = part + random.standard_normal(part.shape, np.float32)
    values.flush()
    del values
    memory = _Memory()
    mapped = np.load(path, mmap_mode="r")
    activity = make_activity(mapped, made.activity.times_s[: base.shape[1]], str(path))
    settings = Settings()
    start_s = time.perf_counter()
    planes = prepare(made.behaviour, activity, settings)
    prepared_s = time.perf_counter() - start_s
    scores = planes[0].data.scores()
    folds_s = time.perf_counter() - start_s - prepared_s
    found = fit_linear(planes, made.behaviour, settings, 32)
    fit_s = time.perf_counter() - start_s - prepared_s - folds_s
    save_bundle(folder / "model", found.model, {})
    path.unlink()
    return {
        "neurons": neurons,
        "samples": base.shape[1],
        "inputs": planes[0].data.x.shape[1],
        "prepare_s": round(prepared_s, 1),
        "five_folds_s": round(folds_s, 1),
        "fit_rank_32_s": round(fit_s, 1),
        "explained": round(float(scores.explained[0].mean()), 3),
        "own_memory_mb": memory.stop(),
    }


def main() -> None:
    parser = _report.parser(__doc__)
    parser.add_argument("--large", type=Path, help="a folder with room for 2.8 GB")
    args = parser.parse_args()
    rows = cost(100 if args.quick else 5000)
    _report.table("A prediction per frame, one core", rows)
    waits = (0, 100) if args.quick else (-200, -100, 0, 50, 100, 200, 400)
    bought = patience(100 if args.quick else 400, waits)
    _report.table("Variance explained by how long one waits", bought)
    results: dict[str, Any] = {"cost": rows, "patience": bought}
    if args.large:
        args.large.mkdir(parents=True, exist_ok=True)
        size = (2000, 2000) if args.quick else (34_000, 20_000)
        results["large"] = large(args.large, *size)
        _report.table("Many neurons", [results["large"]])
    _report.write("neural", args, results)


if __name__ == "__main__":
    main()
