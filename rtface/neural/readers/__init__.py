"""Neural activity out of files, whatever made them."""

from __future__ import annotations

from pathlib import Path

from rtface.neural.activity import Activity
from rtface.neural.readers import arrays, kilosort, suite2p
from rtface.neural.readers.frames import Clock
from rtface.types import UserError

__all__ = ["read_activity"]

KINDS = (
    "a Suite2p folder (spks.npy or plane0 ...), a Kilosort or phy folder (spike_times.npy), "
    ".npy (neurons x time), .nwb"
)


def read_activity(
    path: Path,
    times: Path | None = None,
    regions: Path | None = None,
    bin_s: float = 0.05,
    signal: str = "spks",
    clock: Clock | None = None,
) -> Activity:
    """Return the neural activity in a file or folder.

    Parameters
    ----------
    path : Path
    times : Path, optional
        ``.npy`` (T,) s of each sample; not for spike times and NWB, which have their own.
    regions : Path, optional
        ``.npy`` or text, one label per unit.
    bin_s : float
        Spikes are counted in bins of this length, s.
    signal : str
        Of Suite2p: ``spks`` or ``F``.
    clock : Clock, optional
        Instead of ``times``: when the microscope began each frame.

    Raises
    ------
    UserError
        No such file, or it is not what it should be.
    """
    if not path.exists():
        raise UserError(f"{path}: does not exist")
    labels = arrays.labels(regions) if regions else None
    clock = clock or Clock()
    spikes = path.is_dir() and (path / "spike_times.npy").exists()
    if (spikes or path.suffix == ".nwb") and (times or clock):
        raise UserError(f"{path}: has its own times; leave out times, frame_clock and tiff")
    try:
        if spikes:
            return kilosort.read(path, bin_s, labels)
        given = arrays.vector(times) if times else None
        if path.is_dir():
            return suite2p.read(path, signal, given, clock, labels)
        if path.suffix == ".nwb":
            from rtface.neural.readers import nwb

            return nwb.read(path, bin_s, labels)
        if path.suffix == ".npy":
            return arrays.read(path, given, clock, labels)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    raise UserError(f"{path}: is of no known kind; rtface reads {KINDS}")
