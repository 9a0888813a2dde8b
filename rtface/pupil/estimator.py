"""The pupil of every frame, as it comes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from rtface.pupil.box import EyeBox, given_region
from rtface.pupil.edge import NO_EDGE, Edge
from rtface.pupil.fit import NOTHING, Gaussian, Mask
from rtface.pupil.light import Levels, Lids, lid_level
from rtface.pupil.pixels import Pixels
from rtface.pupil.points import NO_POINTS, Points, by_points, disagree, rows_of
from rtface.pupil.record import Pupil, PupilFlag
from rtface.pupil.smooth import CausalMedian
from rtface.pupil.start import noise_of, search
from rtface.types import BBox, Image, Pose, UserError, expect_frame

Polarity = Literal["dark", "bright", "auto"]

#: samples of the running median; half of them is its delay
SMOOTHED = 7
#: scores: levels are learnt from better ones, worse ones are looked at again and not smoothed
_LEARN, _DOUBT = 0.4, 0.3
#: frames between searches while there is no pupil, and until its last place is forgotten
_SEARCH_EVERY, _KEEP = 5, 20
#: levels are learnt from eyes that are as open as this
_WIDE = 0.75
#: an outline of less than this part of the usual contrast is another one
_FAINT = 0.5
#: a bright pupil is brighter than the surround by this, if it may be lids as well
_SHINES = 1.15
#: frames until noise is measured again
_NOISE_EVERY = 500

_SHUT, _BRIGHT, _CHANGED, _DISAGREES, _NO_PUPIL, _NO_BOX = (int(flag) for flag in PupilFlag)


class PupilEstimator:
    """Finds the pupil in one frame after the other. Belongs to one thread.

    Parameters
    ----------
    box : BBox, optional
        The eye, px of the full frame; placed by the keypoints if not given.
    frame_shape : (height, width)
        px.
    names : sequence of str
        The network's keypoints, in the order of the poses; none if there are no poses.
    dtype : dtype
        uint8 or uint16, of the frames.
    saturation : float, optional
        Facemap's: pixels darker than that count. By default the level in the middle of the
        pupil's edge, in units of the surround's brightness.
    sigma : float
        Facemap's size of the ellipse in standard deviations.
    polarity : "dark", "bright" or "auto"
        What the pupil is to its iris; "auto" follows changes, with automatic levels for a bright
        one.
    reflections : sequence of BBox or "auto"
        Ellipses in rectangles of the full frame that reflections hide, only with a box; or bright
        spots in the eye; or none, if empty. They change Facemap's fit alone.
    ellipse : ndarray (h, w) bool, optional
        The eye in the box; the ellipse that fills it by default.
    adapt_frames : int
        Time constant of automatic levels.

    Raises
    ------
    UserError
        A setting makes no sense; names it.
    """

    def __init__(
        self,
        box: BBox | None,
        frame_shape: tuple[int, int],
        names: Sequence[str] = (),
        dtype: np.dtype | type = np.uint8,
        saturation: float | None = None,
        sigma: float = 2.0,
        polarity: Polarity = "dark",
        reflections: Sequence[BBox] | Literal["auto"] = "auto",
        ellipse: Mask | None = None,
        adapt_frames: int = 200,
    ) -> None:
        self._frame_shape, self._dtype = frame_shape, np.dtype(dtype)
        if self._dtype not in (np.uint8, np.uint16):
            raise ValueError(f"frames of {self._dtype}: needs uint8 or uint16")
        most = np.iinfo(self._dtype).max
        if saturation is not None and not 0 < saturation <= most:
            raise UserError(f"pupil: saturation: above 0, at most {most}, not {saturation:g}")
        if not 0 < sigma < 10:
            raise UserError(f"pupil: sigma: above 0 and below 10, not {sigma:g}")
        if polarity not in ("dark", "bright", "auto"):
            raise UserError(f'pupil: polarity: "dark", "bright" or "auto", not "{polarity}"')
        if adapt_frames < 1:
            raise UserError(f"pupil: adapt_frames: at least 1, not {adapt_frames}")
        if box is None and (ellipse is not None or (reflections != "auto" and len(reflections))):
            raise UserError("pupil: ellipse, reflections: need a box")
        self._saturation, self._sigma = saturation, sigma
        self._sign, self._auto = -1 if polarity == "bright" else 1, polarity == "auto"
        self._rows = rows_of(names)
        self._glints = reflections == "auto"
        self._work: Pixels | None = None
        self._eye_box = EyeBox(frame_shape, names) if box is None else None
        if box is not None:
            region = given_region(box, frame_shape, ellipse)
            self._work = Pixels(region, sigma)
            if reflections != "auto":
                self._work.hide(reflections, frame_shape)
        self._levels = {sign: Levels(adapt_frames) for sign in (1, -1)}
        self._lids = Lids()
        self._smooth = CausalMedian(SMOOTHED, 3)
        self._noise, self._noise_in = math.nan, 0
        self._last, self._lost = NO_EDGE, _KEEP
        self._last_box = BBox(0, 0, 0, 0)

    @property
    def box(self) -> BBox | None:
        """Where it looks, px of the full frame; None: nowhere yet."""
        return self._work.region.box if self._work else None

    def __call__(self, image: Image, pose: Pose | None = None) -> Pupil:
        """Return the pupil in the next frame.

        Parameters
        ----------
        image : ndarray (H, W), of the dtype given
        pose : Pose, optional
            Of the same frame.

        Raises
        ------
        ValueError
            The image is of another size or type.
        """
        expect_frame(image, self._frame_shape, self._dtype)
        points = by_points(pose, self._rows) if pose is not None else NO_POINTS
        work = self._place(pose)
        if work is None:
            return Pupil(
                points_area_px2=points.area,
                points_x_px=points.x,
                points_y_px=points.y,
                points_score=points.score,
                flags=_NO_BOX + _NO_PUPIL,
            )
        work.load(image)
        if not self._noise_in:
            self._noise, self._noise_in = noise_of(work.image, work.region.mask), _NOISE_EVERY
        self._noise_in -= 1
        sign = self._sign
        if not self._levels[sign].known:
            self._search(work, NO_EDGE)
        fit, dark, saturation = self._fit(work)
        self._see_lids(work, saturation)
        edge = NO_EDGE if self._lids.shut else self._follow(work, fit)
        # what hides an eye may also be a pupil that turned bright
        if edge.score < _DOUBT and not (self._lids.shut and (self._sign < 0 or not self._auto)):
            if self._lost % _SEARCH_EVERY == 0 and self._search(work, edge).score > edge.score:
                fit, dark, saturation = self._fit(work)
                self._see_lids(work, saturation)
                edge = NO_EDGE if self._lids.shut else self._follow(work, fit)
            self._lost += 1
        self._remember(work, edge)
        return self._record(work.region.box, fit, dark, saturation, edge, points, sign)

    def _place(self, pose: Pose | None) -> Pixels | None:
        """Return what to work on in this frame."""
        if self._eye_box is not None and pose is not None:
            region = self._eye_box.update(pose)
            if region is not None and (self._work is None or region is not self._work.region):
                if self._work is None or region.mask is not self._work.region.mask:
                    self._work = Pixels(region, self._sigma)
                else:  # it only moved
                    self._work.region = region
        return self._work

    def _fit(self, work: Pixels) -> tuple[Gaussian, float, float]:
        """Return Facemap's fit, the sum of its weights, and the saturation."""
        sign, levels = self._sign, self._levels[self._sign]
        given = self._saturation is not None and not (self._auto and sign < 0)
        saturation = self._saturation if given else levels.threshold * work.light
        if saturation is None or math.isnan(saturation):
            return NOTHING, math.nan, math.nan
        glare, near = math.inf, None
        if self._glints and sign > 0 and levels.known and self._lost < _KEEP:
            box, then = work.region.box, self._last_box
            near = self._last._replace(
                x=self._last.x + then.x - box.x, y=self._last.y + then.y - box.y
            )
            contrast = (levels.outside - levels.inside) * work.light
            glare = levels.outside * work.light + max(1.5 * contrast, 4 * self._noise)
        fit, dark = work.fit(saturation, sign, glare, near)
        return fit, dark, saturation

    def _see_lids(self, work: Pixels, saturation: float) -> None:
        """Tell how open the eye is."""
        level = lid_level(self._levels[self._sign].outside * work.light, work.light)
        bright = saturation if self._sign < 0 else math.inf
        self._lids.update(work.seen(level, bright))

    def _follow(self, work: Pixels, fit: Gaussian) -> Edge:
        """Return the edge about the fit, or about where it was in the frame before."""
        radius = math.sqrt(fit.long * fit.short) * 2 / self._sigma
        edge = work.edge(fit.column, fit.row, radius, self._sign, self._noise)
        if self._faint(work, edge, self._sign):
            edge = NO_EDGE
        if edge.score < _LEARN and self._lost < _KEEP:
            was, box, then = self._last, work.region.box, self._last_box
            again = work.edge(
                was.x + then.x - box.x,
                was.y + then.y - box.y,
                math.sqrt(was.area / math.pi),
                self._sign,
                self._noise,
            )
            if again.score > edge.score and not self._faint(work, again, self._sign):
                return again
        return edge

    def _faint(self, work: Pixels, edge: Edge, sign: int) -> bool:
        """Return whether an outline has less contrast than the pupil usually has."""
        levels = self._levels[sign]
        usual = (levels.outside - levels.inside) * work.light
        return abs(edge.outside - edge.inside) < _FAINT * abs(usual)

    def _search(self, work: Pixels, edge: Edge) -> Edge:
        """Look everywhere in the eye for something better than ``edge``; return that.

        May turn the polarity, and begins levels anew.
        """
        best, best_sign, most = NO_EDGE, self._sign, 0.0
        signs = (self._sign, -self._sign) if self._auto else (self._sign,)
        for sign in signs[1:] if self._lids.shut else signs:
            found = search(work.image, work.region.mask, sign, self._noise)
            if self._lost < _KEEP and self._faint(work, found, sign):
                continue
            if self._lids.shut and not found.inside > _SHINES * work.light:
                continue  # no light comes out of lids
            # of two, the larger one: glints are bright and round, but small
            if found.score >= _LEARN and found.score * found.area > most:
                best, best_sign, most = found, sign, found.score * found.area
        if best.score <= max(edge.score, 0):
            return edge
        self._sign = best_sign
        levels = self._levels[best_sign]
        if self._lost >= _KEEP or not levels.known:
            levels.forget()
            levels.update(best.inside / work.light, best.outside / work.light)
        self._last, self._last_box, self._lost = best, work.region.box, 0
        return best

    def _remember(self, work: Pixels, edge: Edge) -> None:
        if edge.score >= _LEARN:
            if not self._lids.openness < _WIDE:
                self._levels[self._sign].update(edge.inside / work.light, edge.outside / work.light)
            self._last, self._last_box, self._lost = edge, work.region.box, 0

    def _record(
        self,
        box: BBox,
        fit: Gaussian,
        dark: float,
        saturation: float,
        edge: Edge,
        points: Points,
        sign_before: int,
    ) -> Pupil:
        """Put everything together, in px of the full frame."""
        x, y = fit.column + box.x, fit.row + box.y
        score = edge.score * self._lids.trust
        sure = score >= _DOUBT
        known = (fit.area, x, y) if sure else (math.nan,) * 3
        area_smooth, x_smooth, y_smooth = self._smooth(*known)
        edge_x, edge_y = edge.x + box.x, edge.y + box.y
        # plain numbers: arithmetic with flags takes microseconds
        flags = (
            _SHUT * self._lids.shut
            + _BRIGHT * (self._sign < 0)
            + _CHANGED * (self._sign != sign_before)
            + _NO_PUPIL * (not edge.area > 0)
            + _DISAGREES * (sure and disagree(points, edge.area, edge_x, edge_y))
        )
        return Pupil(
            *(fit.area, x, y, fit.long, fit.short, fit.angle, area_smooth, x_smooth, y_smooth),
            *(edge.area, edge_x, edge_y, dark, self._lids.openness, score, saturation),
            *(points.area, points.x, points.y, points.score),
            flags,
        )
