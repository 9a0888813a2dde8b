"""Neural activity out of files, whatever made them."""

from __future__ import annotations

from pathlib import Path

from rtface.neural.activity import Activity
from rtface.neural.readers import arrays, kilosort, suite2p
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
    edges_s: arrays.Floats | None = None,
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
    edges_s : ndarray, optional
        Of Suite2p, instead of ``times``: when the microscope began each frame, s.

    Raises
    ------
    UserError
        No such file, or it is not what it should be.
    """
    if not path.exists():
        raise UserError(f"{path}: does not exist")
    labels = arrays.labels(regions) if regions else None
    try:
        if path.is_dir() and (path / "spike_times.npy").exists():
            return kilosort.read(path, bin_s, labels)
        if path.is_dir():
            given = arrays.vector(times) if times else None
            return suite2p.read(path, signal, given, edges_s, labels)
        if path.suffix == ".nwb":
            from rtface.neural.readers import nwb

            return nwb.read(path, bin_s, labels)
        if path.suffix == ".npy":
            if times is None:
                raise UserError(f"{path}: has no times; name a file of them with times")
            return arrays.read(path, arrays.vector(times), labels)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    raise UserError(f"{path}: is of no known kind; rtface reads {KINDS}")
