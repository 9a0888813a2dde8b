"""What ``rtface neural fit`` does: fits, says what came out beside its control, writes a folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtface.cli.common import progress_bar
from rtface.cli.neural_data import Loaded
from rtface.types import UserError

if TYPE_CHECKING:
    from rtface.neural.scores import Data

#: scores of every unit, in the model's folder
UNITS = "units.csv"


def fit_linear_model(loaded: Loaded, count: int, low_rank: bool, out: Path) -> None:
    """Fit a linear model of the activity."""
    from rtface.neural.bundle import save_bundle, units_of
    from rtface.neural.fit import fit_linear, prepare
    from rtface.neural.report import write_units

    settings, rank = loaded.data.settings, count if low_rank else None
    planes = prepare(loaded.behaviour, loaded.activity, settings)
    told: dict[str, Any] = {"fitted": loaded.about, "model": "rank" if low_rank else "ridge"}
    table = []
    for i, one in enumerate(planes):
        where = f"plane {i}: " if len(planes) > 1 else ""
        told[f"plane{i}"], columns = _scored(one.data, f"{where}{told['model']}", rank)
        table.append((one.data.target.units, columns))
    found = fit_linear(planes, loaded.behaviour, settings, rank, count, loaded.masks)
    if found.components is not None:
        told["components"] = _of_components(found.components)
    known = planes[0].data.target.moments
    units = units_of(loaded.activity, found.units, known, found.readout)
    made = save_bundle(out, found.model, told, units)
    write_units(out / UNITS, loaded.activity, table)
    n, silent = len(found.model.weights), int((found.model.weights == 0).all(1).sum())
    print(f"{out}: model {made.sha256[:12]}, {n} outputs")
    if silent:
        print(f"note: {silent} of them are always 0: nothing of these is explained for sure")


def _scored(
    data: Data, name: str, rank: int | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cross-validate and say what came out beside shuffled activity and peers.

    Returns that, and columns of every unit.
    """
    from rtface.neural.report import said, said_of_peers, unit_columns
    from rtface.neural.scores import mean_interval, peers, share

    with progress_bar("folds") as moved:
        scores = data.scores(rank=rank, on_progress=moved)
    with progress_bar("control") as moved:
        control = data.scores(rank=rank, shuffled=True, on_progress=moved)
    with progress_bar("peers") as moved:
        possible = peers(data.target, data.split, moved)
    mean, shuffled = mean_interval(scores, {0: 1.0}), mean_interval(control, {0: 1.0})
    part = share(scores.explained[0], possible.explained)
    print(
        f"{name}: {len(data.target.units)} units: variance explained {said(mean)}, shuffled "
        f"{said(shuffled)}; {said_of_peers(possible)}"
        + (f": {100 * part:.0f} % of that" if part == part else "")
    )
    told = {
        "explained": [float(value) for value in mean],
        "shuffled": [float(value) for value in shuffled],
        "of_peers": None if part != part else part,
    }
    return told, unit_columns(scores, control, peers=possible)


def _of_components(data: Data) -> dict[str, Any]:
    """Say how much of the components that a model predicts is explained, and return it."""
    from rtface.neural.report import said
    from rtface.neural.scores import together

    scores, control = data.scores(), data.scores(shuffled=True)
    mean, shuffled = together(scores), together(control)
    n = len(data.target.units)
    print(f"its {n} components: variance explained {said(mean)}, shuffled {said(shuffled)}")
    return {
        "explained": [float(value) for value in mean],
        "shuffled": [float(value) for value in shuffled],
        "each": [float(value) for value in scores.explained[0]],
    }


def fit_network(loaded: Loaded, count: int, causal: bool, iterations: int, out: Path) -> None:
    """Train Facemap's network, or a causal one."""
    from rtface.neural.bundle import STATE, save_bundle, units_of
    from rtface.neural.fit_keypoints import fit_keypoints
    from rtface.neural.report import said_of_peers, write_units
    from rtface.neural.scores import peers
    from rtface.neural.splits import split

    activity, settings = loaded.activity, loaded.data.settings
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / STATE

        def train(what: str, turned: bool) -> Any:
            with progress_bar(what) as moved:
                return fit_keypoints(
                    loaded.behaviour,
                    activity,
                    settings,
                    count,
                    0 if causal else None,
                    iterations,
                    state,
                    loaded.masks,
                    turned,
                    moved,
                )

        control = train("control", True)
        found = train("training", False)
        told = {
            "fitted": loaded.about,
            "model": "causal" if causal else "facemap",
            "explained": found.components,
            "shuffled": control.components,
        }
        print(
            f"{len(found.target.units)} units: variance of components explained "
            f"{found.components:.3f}, shuffled {control.components:.3f}; "
            f"of units {found.explained.mean():.3f}, shuffled {control.explained.mean():.3f}"
        )
        columns = {"explained": found.explained, "shuffled": control.explained}
        try:
            parts = split(found.times_s, settings.n_folds, gap_s=settings.gap_s)
        except UserError as error:
            print(f"what peers explain is not known: {error}")
        else:
            with progress_bar("peers") as moved:
                possible = peers(found.target, parts, moved)
            columns |= {"peers": possible.explained, "peers shuffled": possible.shuffled}
            print(said_of_peers(possible))
        units = units_of(activity, found.target.units, found.target.moments, found.readout)
        made = save_bundle(out, found.model, told, units, state)
        write_units(out / UNITS, activity, [(found.target.units, columns)])
    lag_ms = 1e3 * found.model.common.lag_s
    print(f"{out}: model {made.sha256[:12]}, {count} outputs, each {lag_ms:.0f} ms late")


def import_weights(
    loaded: Loaded, weights: Path, animal: int | None, causal: bool, out: Path
) -> None:
    """Write Facemap's weights with a sidecar: what they see, scaled as in this session."""
    import numpy as np

    from rtface.neural.bundle import check_shapes, save_bundle
    from rtface.neural.judge import of_outputs
    from rtface.neural.model import Common, Keypoints
    from rtface.neural.network import read_network
    from rtface.neural.report import write_units
    from rtface.neural.scaling import scaling

    network = read_network(weights, animal)
    if loaded.data.keypoints is None or loaded.data.inputs != ("keypoints",):
        raise UserError(
            f"{weights}: says not which keypoints it takes; name them in its order: inputs = "
            '["keypoints"] and keypoints = [...]'
        )
    period_ns = int(np.median(np.diff(loaded.behaviour.t_ns)))
    ahead = 0 if causal else network.taps // 2
    lag_s = ahead * period_ns * 1e-9 + loaded.data.patience_s
    names = tuple(f"output{i}" for i in range(network.readout.shape[1]))
    common = Common(loaded.behaviour.columns, scaling(loaded.behaviour), names, lag_s, loaded.masks)
    check_shapes(weights, network.mix.shape[0], len(names), common)
    model = Keypoints(common, network, period_ns)
    told: dict[str, Any] = {"fitted": None, "weights": weights.name}
    told["model"] = "causal" if causal else "facemap"
    try:
        planes = of_outputs(model, loaded.behaviour, loaded.activity, loaded.data.settings)
    except UserError as error:  # weights can be had without a recording that is long enough
        print(f"what they are worth here is not known: {error}")
        planes = []
    table = []
    for i, data in enumerate(planes):
        told[f"plane{i}"], columns = _scored(data, f"units of plane {i} by its outputs")
        table.append((data.target.units, columns))
    made = save_bundle(out, model, told, state=weights, animal=animal)
    if table:
        write_units(out / UNITS, loaded.activity, table)
    print(f"{out}: model {made.sha256[:12]}, {len(names)} outputs, each {1e3 * lag_s:.0f} ms late")
