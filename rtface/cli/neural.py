"""Commands from the face to the neurons: fit, evaluate, explain."""

from __future__ import annotations

import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtface.cli.common import progress_bar
from rtface.cli.neural_data import Loaded, columns_of, load
from rtface.types import UserError

if TYPE_CHECKING:
    from rtface.neural.scores import Data

app = typer.Typer(
    no_args_is_help=True,
    help="""Explain and predict neural activity by what the camera saw.

    **neural.toml** names a session and the recording beside it (docs/neural.md). **explain** says
    which movements explain which neurons; **fit** makes a model for `[camera.NAME.neural]` of a
    rig file; **evaluate** tries a model on a recording.""",
)


class Kind(StrEnum):
    """Which model."""

    ridge = "ridge"
    rank = "rank"
    facemap = "facemap"
    causal = "causal"


DataPath = Annotated[Path, typer.Argument(metavar="neural.toml", help="What is explained by what.")]


@app.command()
def fit(
    path: DataPath,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the model.")],
    model: Annotated[
        Kind,
        typer.Option(help="ridge; rank: reduced-rank; facemap, causal: the network (PyTorch)."),
    ] = Kind.ridge,
    count: Annotated[
        int, typer.Option(min=1, max=256, help="Components of the activity to predict, or rank.")
    ] = 32,
    iterations: Annotated[int, typer.Option(min=1, max=5000, help="Of the network.")] = 300,
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Facemap's weights as they are, instead of training; with --model causal: "
            "one-sided ones.",
        ),
    ] = None,
    animal: Annotated[
        int | None, typer.Option(min=0, help="Of --weights of several animals: which.")
    ] = None,
) -> None:
    """Fit a model of neural activity and say what it is worth beside a shuffled control.

    The folder that it writes goes into a rig file: [camera.NAME.neural] bundle = "DIR".
    """
    loaded = load(path)
    if weights is not None:
        _import(loaded, weights, animal, model is Kind.causal, out)
    elif model in (Kind.facemap, Kind.causal):
        _fit_network(loaded, count, model is Kind.causal, iterations, out)
    else:
        _fit_linear(loaded, count, model is Kind.rank, out)
    print(f'for the rig file:\n[camera.NAME.neural]\nbundle = "{out}"')


@app.command()
def evaluate(
    path: DataPath,
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A model, on this recording.")
    ] = None,
    patience_ms: Annotated[
        str | None,
        typer.Option(
            metavar="MS,MS", help="Instead: ridge that waits so long, what that buys; causal at 0."
        ),
    ] = None,
) -> None:
    """Say how well a model does on a recording, or what waiting buys.

    A model should be judged by another part of a recording than it was fitted to (part_s).
    """
    if (model is None) == (patience_ms is None):
        raise UserError("give one of --model and --patience-ms")
    loaded = load(path)
    if model is not None:
        _evaluate(loaded, model)
    else:
        _patience(loaded, _numbers("--patience-ms", patience_ms or ""))


@app.command()
def explain(
    path: DataPath,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the report.")],
) -> None:
    """Say which movements explain which neurons and regions: a page, tables and pictures."""
    from rtface.neural.explain import explain as explain_data
    from rtface.neural.fit import group_masks, prepare
    from rtface.neural.report import summary, write_report
    from rtface.neural.scores import peers

    loaded = load(path)
    settings = loaded.data.settings
    planes = prepare(loaded.behaviour, loaded.activity, settings)
    groups = group_masks(loaded.behaviour, len(settings.taus_s))
    for i, one in enumerate(planes):
        folder = out if len(planes) == 1 else out / f"plane{i}"
        with progress_bar("explaining") as moved:
            found = explain_data(one.data, groups, moved)
        data = one.data
        with progress_bar("peers") as moved:
            possible = peers(data.target, data.split, moved)
        title = f"What explains {Path(loaded.data.activity).name}"
        rows = write_report(
            folder,
            title,
            found,
            one,
            loaded.behaviour,
            loaded.activity,
            settings,
            possible,
        )
        for line in summary(rows):
            print("{}: explained {}, shuffled {}; unique: {}".format(*line))
        print(folder / "report.md")


def _fit_linear(loaded: Loaded, count: int, low_rank: bool, out: Path) -> None:
    from rtface.neural.bundle import save_bundle, units_of
    from rtface.neural.fit import fit_linear, prepare

    settings, rank = loaded.data.settings, count if low_rank else None
    planes = prepare(loaded.behaviour, loaded.activity, settings)
    told: dict[str, Any] = {"fitted": loaded.about, "model": "rank" if low_rank else "ridge"}
    for i, one in enumerate(planes):
        where = f"plane {i}: " if len(planes) > 1 else ""
        told[f"plane{i}"] = _scored(one.data, f"{where}{told['model']}", rank)
    found = fit_linear(planes, loaded.behaviour, settings, rank, count, loaded.masks)
    known = planes[0].data.target.moments
    units = units_of(loaded.activity, found.units, known, found.readout)
    made = save_bundle(out, found.model, told, units)
    print(f"{out}: model {made.sha256[:12]}, {len(found.model.common.outputs)} outputs")


def _scored(data: Data, name: str, rank: int | None = None) -> dict[str, Any]:
    """Cross-validate, say what came out beside shuffled activity and peers, and return it."""
    from rtface.neural.report import said, said_of_peers
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
    return {
        "explained": [float(value) for value in mean],
        "shuffled": [float(value) for value in shuffled],
        "of_peers": None if part != part else part,
    }


def _fit_network(loaded: Loaded, count: int, causal: bool, iterations: int, out: Path) -> None:
    from rtface.neural.bundle import STATE, save_bundle, units_of
    from rtface.neural.fit_keypoints import fit_keypoints

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
            f"{len(found.units)} units: variance of components explained {found.components:.3f}, "
            f"shuffled {control.components:.3f}; of units {found.explained.mean():.3f}, shuffled "
            f"{control.explained.mean():.3f}"
        )
        units = units_of(activity, found.units, found.moments, found.readout)
        made = save_bundle(out, found.model, told, units, state)
    lag_ms = 1e3 * found.model.common.lag_s
    print(f"{out}: model {made.sha256[:12]}, {count} outputs, each {lag_ms:.0f} ms late")


def _import(loaded: Loaded, weights: Path, animal: int | None, causal: bool, out: Path) -> None:
    """Write Facemap's weights with a sidecar: what they see, scaled as in this session."""
    import numpy as np

    from rtface.neural.bundle import check_shapes, save_bundle
    from rtface.neural.judge import of_outputs
    from rtface.neural.model import Common, Keypoints
    from rtface.neural.network import read_network
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
    for i, data in enumerate(planes):
        told[f"plane{i}"] = _scored(data, f"units of plane {i} by its outputs")
    made = save_bundle(out, model, told, state=weights, animal=animal)
    print(f"{out}: model {made.sha256[:12]}, {len(names)} outputs, each {1e3 * lag_s:.0f} ms late")


def _evaluate(loaded: Loaded, folder: Path) -> None:
    import numpy as np

    from rtface.neural.bundle import load_bundle
    from rtface.neural.judge import judge
    from rtface.neural.report import said
    from rtface.neural.scores import mean_interval

    bundle = load_bundle(folder)
    fitted = bundle.about.get("fitted") or {}
    behaviour = columns_of(loaded, bundle.model.common.columns)
    masks = bundle.model.common.masks
    if masks is not None and masks != loaded.masks:
        raise UserError(f"{folder}: is of motion components of other masks than this session's")
    scores = judge(bundle, behaviour, loaded.activity)
    control = judge(bundle, behaviour, loaded.activity, shuffled=True)
    judged = np.flatnonzero(np.isfinite(scores.total[0]))
    mean = mean_interval(scores, {0: 1.0}, judged)
    shuffled = mean_interval(control, {0: 1.0}, judged)
    print(
        f"{len(judged)} units: variance explained {said(mean)}, shuffled {said(shuffled)} "
        f"(model {bundle.sha256[:12]})"
    )
    about = loaded.about
    same = fitted.get("recording") == about["recording"]
    if same and fitted["from_s"] < about["to_s"] and about["from_s"] < fitted["to_s"]:
        print("note: the model was fitted to this; judge it by another part (part_s)")


def _patience(loaded: Loaded, patience_ms: list[float]) -> None:
    from rtface.neural.fit import prepare
    from rtface.neural.report import said
    from rtface.neural.scores import mean_interval

    print("patience ms   variance explained        shuffled")
    for one_ms in patience_ms:
        settings = loaded.data.settings._replace(patience_s=one_ms / 1e3)
        for plane in prepare(loaded.behaviour, loaded.activity, settings):
            with progress_bar(f"{one_ms:g} ms") as moved:
                scores = plane.data.scores(on_progress=moved)
            control = plane.data.scores(shuffled=True)
            told = said(mean_interval(scores, {0: 1.0}))
            print(f"{one_ms:11g}   {told}   {said(mean_interval(control, {0: 1.0}))}")


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"{option}: '{text}' is no list of numbers, as 0,50,100") from None
