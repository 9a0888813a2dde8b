"""How the shipped network is made: first what every fold may see, then the other animals as well.

Also the networks it is judged by: one per fold, each without a part of the animals and one video,
and one of Facemap's shape on the same pictures. Everything that was made is kept in a folder, so
that hours of work can be interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rtface.train import data, export, fit, fmnet
from rtface.train.bank import Bank
from rtface.train.network import Network
from rtface.types import UserError

#: of the pictures of a step: Facemap's stills, synthetic faces; and with the Schroeder lab's
SHARED = (0.35, 0.65)
SHARES = (0.25, 0.30, 0.45)
LAST = (0.35, 0.40, 0.25)
#: says what is being made, how much of it is done (0 to 1), and the loss
Report = Callable[[str, float, float], None]


class Recipe(NamedTuple):
    """What is done for how long.

    Attributes
    ----------
    n_faces : int
        Synthetic animals, from seed 1000 on.
    shared : Schedule
        Synthetic faces and Facemap's first video, once for all folds.
    together : Schedule
        All that a fold may see, from there.
    last : Schedule
        The same in milder views, with fewer synthetic faces.
    anchor : Schedule
        The network of Facemap's shape, on the pictures of ``together``, from nothing.
    channels : tuple of 5 int
        Of that network.
    upright : float
        How far Facemap's stills are turned, of what others are: both videos are of one rig, where
        the labels' places along an outline have to do with what is up.
    shipped_seed : int
        Of the last stage of the network that saw everything. Of four trainings it is the one whose
        INT8 holds with BF16 beside it and that is stillest at rest; labels had no say.
    """

    n_faces: int = 900
    shared: fit.Schedule = fit.Schedule(7000, 16, 2.5e-3)
    together: fit.Schedule = fit.Schedule(4500, 16, 1.5e-3)
    last: fit.Schedule = fit.Schedule(2600, 16, 1.2e-3, strength=0.6)
    anchor: fit.Schedule = fit.Schedule(3200, batch=8, rate=1.5e-3)
    channels: tuple[int, int, int, int, int] = (16, 32, 64, 128, 200)
    upright: float = 0.2
    shipped_seed: int = 2


#: to see that every step works; the networks are useless
QUICK = Recipe(
    2,
    fit.Schedule(2, 4),
    fit.Schedule(2, 4),
    fit.Schedule(2, 4),
    fit.Schedule(2, 2),
    channels=(4, 4, 4, 4, 4),
)


class Workshop:
    """Makes the recipe's networks in a folder, each once.

    Parameters
    ----------
    folder : Path
    data_dir : Path
        With ``facemap_g7c1`` and ``schroeder_face``.
    recipe : Recipe
    report : callable
    """

    def __init__(self, folder: Path, data_dir: Path, recipe: Recipe, report: Report) -> None:
        self._folder, self._recipe, self._report = folder, recipe, report
        self.data_dir = data_dir
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "recipe.json"
        text = json.dumps(recipe, indent=1)
        if kept.exists() and kept.read_text(encoding="utf-8") != text:
            raise UserError(f"{kept}: another recipe's networks are kept here; name another folder")
        kept.write_text(text, encoding="utf-8")
        self.facemap = data.read_facemap(data_dir)
        self.schroeder = data.read_schroeder(data_dir)
        self._synthetic: Bank | None = None

    def synthetic(self) -> Bank:
        """Return the synthetic faces; drawing them takes minutes."""
        path = self._folder / "synthetic.pt"
        if self._synthetic is None and path.exists():
            self._synthetic = Bank(*torch.load(path, mmap=True))
        if self._synthetic is None:
            self._report("drawing synthetic faces", 0.0, float("nan"))
            self._synthetic = data.synthetic_bank(data.FIRST_TRAINING_SEED, self._recipe.n_faces)
            torch.save(tuple(self._synthetic), path)
        return self._synthetic

    def shared(self) -> Network:
        """Return the network that has seen synthetic faces and Facemap's first video only."""
        network = Network(len(data.KEYPOINTS))
        path = self._folder / "shared.pt"
        if not path.exists():
            torch.manual_seed(0)
            network = fit.fit(
                Network(len(data.KEYPOINTS)),
                fit.loss,
                [self._facemap_bank(data.split(self.facemap, 0)[0]), self.synthetic()],
                SHARED,
                self._recipe.shared,
                self._steps("what all folds share", self._recipe.shared),
            )
            torch.save(network.state_dict(), path)
        network.load_state_dict(torch.load(path))
        return network.eval()

    def network(self, fold: int | None) -> Network:
        """Return the network of a fold; None: the one that saw everything."""
        name = "all" if fold is None else f"fold{fold}"
        stages = (
            (f"{name}.together.pt", SHARES, self._recipe.together),
            (f"{name}.pt", LAST, self._last(fold)),
        )
        network = self.shared()
        for file, shares, schedule in stages:
            path = self._folder / file
            if not path.exists():
                what = "everything" if fold is None else f"without fold {fold}"
                steps = self._steps(f"{what}, {path.stem}", schedule)
                torch.save(
                    fit.fit(
                        network, fit.loss, self._banks(fold), shares, schedule, steps
                    ).state_dict(),
                    path,
                )
            network.load_state_dict(torch.load(path))
        return network.eval()

    def anchor(self, fold: int) -> fmnet.FMnet:
        """Return the network of Facemap's shape that was made without a fold."""
        path = self._folder / f"anchor{fold}.pt"
        network = fmnet.FMnet(self._recipe.channels, len(data.KEYPOINTS))
        if not path.exists():
            torch.manual_seed(0)
            network = fit.fit(
                fmnet.FMnet(self._recipe.channels, len(data.KEYPOINTS)),
                fmnet.loss,
                self._banks(fold),
                SHARES,
                self._recipe.anchor,
                self._steps(f"Facemap's shape without fold {fold}", self._recipe.anchor),
            )
            torch.save(network.state_dict(), path)
        network.load_state_dict(torch.load(path))
        return network.eval()

    def bundle(self, fold: int) -> Path:
        """Return the folder of a fold's bundle; its scores are bare peaks."""
        folder = self._folder / f"fold{fold}"
        if not (folder / "model.json").exists():
            export.write_bundle(self.network(fold), folder, folder.name, self.about(fold), {})
        return folder

    def about(self, fold: int | None) -> dict[str, Any]:
        """Return what the weights of a fold saw, for ``model.json``."""
        facemap, schroeder = self._seen(fold)
        first = data.FIRST_TRAINING_SEED
        return {
            "fold": fold,
            "facemap_g7c1": sorted({still.group for still in facemap}),
            "schroeder_face": sorted({still.group for still in schroeder}),
            "stills": [len(facemap), len(schroeder)],
            "synthetic": [first, first + self._recipe.n_faces - 1],
            "shared": self._recipe.shared._asdict(),
            "together": self._recipe.together._asdict(),
            "last": self._last(fold)._asdict(),
            "upright": self._recipe.upright,
            "torch": str(torch.__version__),
        }

    def _last(self, fold: int | None) -> fit.Schedule:
        last = self._recipe.last
        return last._replace(seed=self._recipe.shipped_seed) if fold is None else last

    def _seen(self, fold: int | None) -> list[list[data.Still]]:
        both = self.facemap, self.schroeder
        return [stills if fold is None else data.split(stills, fold)[0] for stills in both]

    def _banks(self, fold: int | None) -> list[Bank]:
        facemap, schroeder = self._seen(fold)
        return [self._facemap_bank(facemap), data.stills_bank(schroeder), self.synthetic()]

    def _facemap_bank(self, stills: list[data.Still]) -> Bank:
        return data.stills_bank(stills)._replace(turn=self._recipe.upright)

    def _steps(self, what: str, schedule: fit.Schedule) -> Callable[[int, float], None]:
        return lambda step, value: self._report(what, step / schedule.steps, value)
