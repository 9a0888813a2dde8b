"""Labels stay on their pixels, the loss falls, and what is exported is what was trained."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import make_bundle

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")

from rtface.camera.film import Film  # noqa: E402
from rtface.engine import make_engine  # noqa: E402
from rtface.engine.bundle import load_bundle  # noqa: E402
from rtface.pose import Resampler, percentile_affine  # noqa: E402
from rtface.train import augment, data, evaluate, export, fit  # noqa: E402
from rtface.train.data import KEYPOINTS  # noqa: E402
from rtface.train.network import Network, decode  # noqa: E402
from rtface.types import UserError  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("RTFACE_DATA", REPOSITORY / "../shared/data"))
needs_data = pytest.mark.skipif(
    not (DATA / "facemap_g7c1").is_dir(), reason=f"no real recordings in {DATA} (RTFACE_DATA)"
)


def face(seed, height, width, facing=None, t_s=5.0):
    """A picture of a synthetic mouse and the keypoints that networks learn, hidden ones too."""
    film = Film(seed, width, height, facing)
    state = film.face.snap(film.script.at(t_s))
    image = np.empty((height, width), np.uint8)
    film.draw(state, image)
    return image, film.face.points(state)[data._LEARNED]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def dotted_bank(n=12):
    """Pictures whose keypoints are soft bright dots, far enough apart to be told by place."""
    y, x = np.mgrid[0:240, 0:320].astype(np.float32)
    images, points = [], []
    for i in range(n):
        spots = np.array([[60.0 + 3 * i, 70.0], [200.5, 90.0 + 2 * i], [130.0, 180.25]])
        image = sum(np.exp(-((x - u) ** 2 + (y - v) ** 2) / 18) for u, v in spots)
        labels = np.full((len(KEYPOINTS), 2), np.nan, np.float32)
        labels[[2, 7, 12]] = spots  # eye(front), nose(tip), pupil(back)
        images.append((220 * image).clip(0, 255).astype(np.uint8))
        points.append(labels)
    return data._bank(zip(images, points, strict=True))


def brightest(picture, near):
    """Centre of brightness within 9 px of a place."""
    y, x = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]]
    weight = picture * (np.hypot(x - near[0], y - near[1]) < 9)
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def test_a_plain_view_is_what_the_resampler_makes():
    for height, width in ((480, 640), (646, 864), (540, 720), (200, 500)):
        image, points = face(3, height, width)
        resampler = Resampler((height, width), data.INPUT_SHAPE)
        wanted = resampler(image)
        bank = data._bank([(image, points)])
        seen, xy = augment.look(
            bank, torch.tensor([0]), augment.plain_views(bank, torch.tensor([0]))
        )
        np.testing.assert_allclose(xy[0], resampler.to_input(points), atol=1e-3)
        inner = (slice(resampler.pad_y + 1, 192 - resampler.pad_y - 2), slice(1, 254))
        difference = np.abs(seen[0, 0].numpy() - wanted)[inner]
        assert difference.mean() < 1.0, "un-augmented pictures differ from the live ones"
        assert difference.max() < 6.0


def test_labels_stay_on_their_pixels_under_any_view():
    bank = dotted_bank()
    index = torch.arange(12).repeat(4)
    views = augment.random_views(bank, index, rng(1))
    seen, xy = augment.look(bank, index, views)
    checked = 0
    for picture, points in zip(seen[:, 0].numpy(), xy.numpy(), strict=True):
        for point in points[np.isfinite(points[:, 0])]:
            if 10 < point[0] < 245 and 10 < point[1] < 181:
                assert np.abs(brightest(picture, point) - point).max() < 0.5
                checked += 1
    assert checked > 60
    assert (torch.linalg.det(views.linear) < 0).any(), "no view was flipped"
    assert (views.push.abs().amax((1, 2, 3)) > 2).any(), "no view was pushed"


def test_a_flip_mirrors_places_and_keeps_names():
    image, points = face(1003, 384, 512, "left")
    mirrored = points * [-1, 1] + [511, 0]
    _, other = face(1003, 384, 512, "right")
    np.testing.assert_allclose(mirrored, other, atol=1e-3)
    bank = data._bank([(image, points)])
    plain = augment.plain_views(bank, torch.tensor([0]))
    sign = torch.tensor([-1.0, 1.0])  # x -> 255 - x
    flipped = plain._replace(
        linear=plain.linear * sign[:, None], shift=plain.shift * sign + torch.tensor([255.0, 0.0])
    )
    seen, xy = augment.look(bank, torch.tensor([0]), flipped)
    straight, _ = augment.look(bank, torch.tensor([0]), plain)
    np.testing.assert_allclose(seen[0, 0], straight[0, 0].numpy()[:, ::-1], atol=0.05)
    resampler = Resampler((384, 512), data.INPUT_SHAPE)
    np.testing.assert_allclose(xy[0], resampler.to_input(other), atol=1e-2)


def test_normalising_a_batch_is_percentile_affine():
    image = np.random.default_rng(0).integers(20, 220, (192, 256), dtype=np.uint8)
    scale, shift = percentile_affine(image)
    seen = torch.from_numpy(image.astype(np.float32))[None, None]
    np.testing.assert_allclose(augment.normalise(seen)[0, 0], image * scale + shift, atol=0.02)


def test_relit_pictures_stay_in_range_and_differ():
    seen = torch.from_numpy(face(2, 192, 256)[0].astype(np.float32))
    lit = augment.relight(seen.expand(8, 1, -1, -1), rng(2))
    assert lit.shape == (8, 1, 192, 256)
    assert 0 <= float(lit.min()) <= float(lit.max()) <= 255
    assert float((lit[0] - lit[1]).abs().mean()) > 1


def test_decoding_finds_a_known_peak():
    logits = torch.full((1, 2, 24, 32), -6.0)
    offsets = torch.zeros(1, 2, 2, 24, 32)
    logits[0, 0, 3, 5], logits[0, 1, 23, 31] = 2.0, 0.0
    logits[0, 0, 20, 20] = 1.9  # a second best elsewhere has no say
    offsets[0, 0, :, 3, 5] = torch.tensor([0.25, -0.5])
    logits -= 30 * (logits < -5)
    found = decode(logits, offsets)[0]
    np.testing.assert_allclose(found[0], [5 * 8 + 3.5 + 2, 3 * 8 + 3.5 - 4, 0.880797], atol=1e-5)
    np.testing.assert_allclose(found[1], [31 * 8 + 3.5, 23 * 8 + 3.5, 0.5], atol=1e-5)
    # a neighbour as sure as the best one, and of another opinion by one cell
    logits[0, 1, 22, 31] = 0.0
    assert decode(logits, offsets)[0, 1, 1] == pytest.approx(22.5 * 8 + 3.5)


def test_the_loss_is_least_at_the_truth_and_blind_to_what_is_not_labelled():
    points = torch.tensor([[[100.0, 50.0], [float("nan"), float("nan")], [-50.0, 30.0]]])
    cells = torch.stack(torch.meshgrid(torch.arange(24), torch.arange(32), indexing="ij")[::-1])
    wanted = (torch.tensor([100.0, 50.0]) + 0.5) / 8 - 0.5
    offsets = (wanted[:, None, None] - cells).expand(1, 3, 2, 24, 32).clone()
    logits = torch.full((1, 3, 24, 32), -9.0)
    logits[0, 0] = -4 * (offsets[0, 0] ** 2).sum(0)
    best = float(fit.loss(logits, offsets, points))
    blind = logits.clone()
    blind[0, 1] = 5.0
    assert float(fit.loss(blind, offsets, points)) == pytest.approx(best)
    for change in (torch.roll(logits, 3, 3), logits + torch.tensor([0, 0, 9.0])[:, None, None]):
        assert float(fit.loss(change, offsets, points)) > 2 * best
    assert float(fit.loss(logits, offsets + 0.5, points)) > best + 0.5


@pytest.mark.slow
def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    bank = data.synthetic_bank(1000, 2, 2)
    seen, points = fit.batch([bank], [1.0], rng())
    assert seen.shape == (fit.BATCH, 1, 192, 256)
    network = Network(len(KEYPOINTS))
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    values = [fit.advance(network, optimiser, seen, points) for _ in range(12)]
    assert values[-1] < 0.8 * values[0]


def test_the_export_equals_torch_and_the_bundle_is_whole(tmp_path):
    torch.manual_seed(1)
    network = Network(len(KEYPOINTS)).eval()
    # random heads and statistics: folding must be exercised, and every peak be somewhere
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    network.head.weight.data.normal_(0, 0.3)
    export.write_bundle(network, tmp_path / "bundle", "test", {}, {})
    engine = make_engine(load_bundle(tmp_path / "bundle"), "onnxruntime")
    deployed = export.Deployed(network)
    for seed in range(3):
        image = face(seed, 192, 256)[0]
        scale, shift = percentile_affine(image)
        found = engine.infer(image, scale, shift)
        with torch.no_grad():
            wanted = deployed(torch.from_numpy(image), torch.tensor(scale), torch.tensor(shift))
        assert found.shape == (16, 3)
        np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert sorted(p.name for p in (tmp_path / "bundle").iterdir()) == [
        "model.json",
        "model.onnx",
        "reference.npz",
    ]
    assert len(list(tmp_path.iterdir())) == 1, "something was left beside the bundle"
    with np.load(tmp_path / "bundle" / "reference.npz") as reference:
        assert reference["image"].shape == (2, 192, 256)
        again = engine.infer(
            reference["image"][1], float(reference["scale"][1]), float(reference["shift"][1])
        )
        np.testing.assert_allclose(again, reference["keypoints"][1], atol=1e-4)


def lively(seed, **channels):
    """A network whose head and normalisations are not those it starts from."""
    torch.manual_seed(seed)
    network = Network(len(KEYPOINTS), **channels)
    network.head.weight.data.normal_(0, 0.3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


@pytest.mark.slow
def test_a_bundle_can_be_trained_further(tmp_path):
    network = lively(2)
    export.write_onnx(network, tmp_path / "model.onnx")
    again = export.read_network(tmp_path / "model.onnx").eval()
    seen = torch.randn(2, 1, 192, 256)
    with torch.no_grad():
        for wanted, found in zip(network(seen), again(seen), strict=True):
            np.testing.assert_allclose(found, wanted, atol=2e-3)
    bank = data.synthetic_bank(1000, 1, 2)
    further, steps = fit.fit([bank], [1.0], 0.02, 0, start=again)
    assert steps > 0
    norms = [m for m in further.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(float(norm.running_mean.abs().max()) == 0 for norm in norms), "normalisation moved"
    with pytest.raises(UserError, match="recipe"):
        export.read_network(make_bundle(tmp_path / "tiny") / "model.onnx")


def test_slips_are_dropped_and_gaps_stay_gaps(tmp_path):
    folder = tmp_path / "facemap_g7c1"
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            ["file", "video", "nose(tip)_x", "nose(tip)_y", "mouth_x", "mouth_y", "label_ok"]
        )
        table.writerow(["a.jpg", "one", 1.5, 2.5, "", "", "True"])
        table.writerow(["b.jpg", "one", 3, 4, 5, 6, "False"])
    (still,) = data.read_facemap(tmp_path)
    assert still.points[KEYPOINTS.index("nose(tip)")].tolist() == [1.5, 2.5]
    assert np.isnan(still.points).sum() == 30


def test_left_and_right_become_front_and_back(tmp_path):
    folder = tmp_path / "schroeder_face"
    folder.mkdir()
    parts = ["leftpupil", "rightpupil", "lefteyelid", "righteyelid", "dorsaleyelid", "nose"]
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            ["file", "animal", "session", "facing", *(f"{p}_{a}" for p in parts for a in "xy")]
        )
        for facing in ("left", "right"):
            table.writerow(["a.jpg", "one", "first", facing, *range(12)])
    left, right = (still.points for still in data.read_schroeder(tmp_path))

    def at(points, name):
        return points[KEYPOINTS.index(name)].tolist()

    assert at(left, "pupil(front)") == at(right, "pupil(back)") == [0, 1]
    assert at(left, "eye(back)") == at(right, "eye(front)") == [6, 7]
    assert at(left, "eye(top)") == at(right, "eye(top)") == [8, 9]
    assert at(right, "nose(tip)") == [10, 11]


def test_the_table_counts_each_keypoint_alike():
    truth = np.full((4, 16, 2), np.nan, np.float32)
    truth[:, [0, 2]] = [[[40, 0], [0, 0]]] * 4  # eye width 40 px
    truth[0, 5] = [10, 10]  # mouth once
    truth[:, 7] = [0, 50]  # nose(tip) always
    truth[2, 7] = [6, 50]
    found = np.nan_to_num(truth) + np.float32([3, 4])
    found[0, 5] += [0, 10]
    by = evaluate.Judged(truth, ["a", "a", "b", "b"])
    rows = {r.name: r for r in evaluate.table(found, by, np.zeros((16, 2)), KEYPOINTS)}
    assert rows["nose(tip)"].error_px == pytest.approx(5)
    assert rows["nose(tip)"].constant_px == pytest.approx((150 + np.hypot(6, 50)) / 4)
    assert rows["nose(tip)"].own_mean_px == pytest.approx((0 + 0 + 3 + 3) / 4)
    assert rows["nose(tip)"].error_eye_pct == pytest.approx(12.5)
    far = np.hypot(3, 14)
    assert rows["nose, mouth, lip"].error_px == pytest.approx((5 + far) / 2)
    assert rows["mouth"].n == 1
    assert "pupil" not in rows


@needs_data
@pytest.mark.data
def test_real_labels_read_as_described():
    facemap, schroeder = data.read_facemap(DATA), data.read_schroeder(DATA)
    assert (len(facemap), len(schroeder)) == (132, 291)
    known, held = data.split(facemap)
    assert (len(known), len(held)) == (113, 19)
    known_animals, held_animals = ({s.group for s in part} for part in data.split(schroeder))
    assert not known_animals & held_animals
    assert (len(known_animals), len(held_animals)) == (12, 4)
    mean, by = evaluate.mean_label(evaluate.judged(known).truth), evaluate.judged(held)
    rows = {r.name: r for r in evaluate.table(by.truth, by, mean, KEYPOINTS)}
    # the figures that stand in the data's own description
    for name, px in {"eye": 5.1, "nose(tip)": 28.6, "nose(top)": 21.1, "mouth": 6.7}.items():
        assert rows[name].constant_px == pytest.approx(px, abs=0.06)
    assert data.read_gray(held[0].path).shape == (646, 864)
    assert data.read_gray(schroeder[0].path).shape == (540, 720)
    front = KEYPOINTS.index("eye(front)")
    for still in schroeder:
        ahead = still.points[KEYPOINTS.index("nose(tip)")] - still.points[front]
        behind = still.points[KEYPOINTS.index("eye(back)")] - still.points[front]
        if np.isfinite([*ahead, *behind]).all():
            assert ahead[0] * behind[0] < 0, f"{still.path.name}: front and back are swapped"


def test_a_smaller_network_grows_and_says_the_same(tmp_path):
    """Wider than the file: what was there stays as it was, and the new channels learn."""
    small = lively(3, width=40, last=96)
    export.write_onnx(small, tmp_path / "model.onnx")
    grown = export.read_network(tmp_path / "model.onnx").eval()
    assert grown.head.in_channels > small.head.in_channels
    seen = torch.rand(1, 1, 192, 256)
    with torch.no_grad():
        for was, now in zip(small(seen), grown(seen), strict=True):
            np.testing.assert_allclose(now, was, atol=2e-3)
    points = torch.rand(1, len(KEYPOINTS), 2) * 190
    before = grown.head.weight.detach().clone()
    fit.advance(grown, torch.optim.SGD(grown.parameters(), 0.1), seen, points)
    assert (grown.head.weight[:, 96:] != before[:, 96:]).any()
