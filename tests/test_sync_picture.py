"""The one-page picture of a match: it says yes, and nothing on it is cut off."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from rtface.sync.match import match
from rtface.sync.picture import draw
from rtface.sync.simulate import Wrong, simulate


def test_everything_on_the_page_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Figure] = []
    save = Figure.savefig

    def kept(self: Figure, *words: object, **options: object) -> None:
        made.append(self)
        save(self, *words, **options)

    monkeypatch.setattr(Figure, "savefig", kept)
    bad = Wrong(missed_pulses=1e-2, dropped_frames=2e-2, extra_frames=0)
    session = simulate(21, "late", 200.0, 120.0, (0, 118), (5, 125), wrong=bad)
    found = match(session.frames, session.edges)
    draw(
        tmp_path / "a.png",
        "cam1 in the clock of run_g0_t0.nidq.meta, line 3",
        session.frames,
        found,
    )
    assert (tmp_path / "a.png").stat().st_size > 10_000
    (figure,) = made
    texts = [one for one in figure.findobj(Text) if one.get_visible() and one.get_text()]
    said = "\n".join(one.get_text() for one in texts)
    n_pulses = int(np.isfinite(found.residual_s).sum())
    assert f"yes: {n_pulses} of {len(found.flags)} frames have a pulse" in said
    assert f"{found.anchor.votes} marks agree" in said
    taken, page = figure.get_tightbbox(), figure.bbox_inches
    assert page.x0 <= taken.x0 < taken.x1 <= page.x1
    assert page.y0 <= taken.y0 < taken.y1 <= page.y1
    # what is drawn is what was found: residuals within the grey lines, but for one in twenty
    (points, above, below) = figure.axes[0].lines
    us = np.asarray(points.get_ydata(), float)
    limit = above.get_ydata()[0]
    assert below.get_ydata()[0] == -limit
    assert np.mean(np.abs(us[np.isfinite(us)]) <= limit) == pytest.approx(0.95, abs=0.01)
