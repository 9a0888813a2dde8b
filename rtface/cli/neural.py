"""Commands from the face to the neurons: fit, evaluate, explain."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rtface.cli.common import progress_bar
from rtface.cli.neural_data import Loaded, columns_of, load
from rtface.types import UserError

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
    from rtface.cli.neural_fit import fit_linear_model, fit_network, import_weights

    loaded = load(path)
    if weights is not None:
        import_weights(loaded, weights, animal, model is Kind.causal, out)
    elif model in (Kind.facemap, Kind.causal):
        fit_network(loaded, count, model is Kind.causal, iterations, out)
    else:
        fit_linear_model(loaded, count, model is Kind.rank, out)
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
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV of every unit's score, with --model.")
    ] = None,
) -> None:
    """Say how well a model does on a recording, or what waiting buys.

    A model should be judged by another part of a recording than it was fitted to (part_s).
    """
    if (model is None) == (patience_ms is None):
        raise UserError("give one of --model and --patience-ms")
    loaded = load(path)
    if model is not None:
        _evaluate(loaded, model, out)
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


def _evaluate(loaded: Loaded, folder: Path, out: Path | None) -> None:
    import numpy as np

    from rtface.neural.bundle import load_bundle
    from rtface.neural.judge import judge
    from rtface.neural.report import said, unit_columns, write_units
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
    if out is not None:
        write_units(out, loaded.activity, [(judged, unit_columns(scores, control, judged))])
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
