"""Labels stay on their pixels, the loss falls, and what is exported is what was trained."""

import csv
import math
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import make_bundle

torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")

from networks import face, lively  # noqa: E402

from rtface.engine import make_engine  # noqa: E402
from rtface.engine.bundle import load_bundle  # noqa: E402
from rtface.face import CROP  # noqa: E402
from rtface.percentiles import percentile_affine  # noqa: E402
from rtface.pose import Resampler  # noqa: E402
from rtface.train import augment, data, evaluate, export, fit, light, measures  # noqa: E402
from rtface.train.bank import banks_by_size, renamed  # noqa: E402
from rtface.train.data import KEYPOINTS  # noqa: E402
from rtface.train.mirror import lonely, mirror_of  # noqa: E402
from rtface.train.network import Network, decode  # noqa: E402
from rtface.train.score import Scoring, fit_scoring  # noqa: E402
from rtface.types import UserError  # noqa: E402

pytestmark = [pytest.mark.networks, pytest.mark.timeout(180)]  # fitting, on a busy machine

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("RTFACE_DATA", REPOSITORY / "../shared/data"))
needs_data = pytest.mark.skipif(
    not (DATA / "facemap_g7c1").is_dir(), reason=f"no real recordings in {DATA} (RTFACE_DATA)"
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def one_bank(image, points, box=None):
    """A bank of one picture, its face as the labels say or as a box does."""
    seen = data.face_in(box) if box else data.face_of(points)
    return banks_by_size([(image, points, seen)], [1.0])[0]


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
    return data._bank(zip(images, points, strict=True), [1.0] * n)


def brightest(picture, near):
    """Centre of brightness within 9 px of a place."""
    y, x = np.mgrid[0 : picture.shape[0], 0 : picture.shape[1]]
    weight = picture * (np.hypot(x - near[0], y - near[1]) < 9)
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


# --- pictures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(480, 640), (646, 864), (200, 500)])
def test_a_plain_view_is_what_the_resampler_makes(shape):
    image, points = face(3, *shape)
    box = data.box_of(data.face_of(points))
    width = 4 * round(box.width / 4)  # as finders ask for
    box = box._replace(width=width, height=width * 3 // 4)
    resampler = Resampler(shape, data.INPUT_SHAPE, box)
    wanted = resampler(image).astype(float)
    bank = one_bank(image, points, box)
    index = torch.tensor([0])
    seen, xy = augment.look(bank, index, augment.plain_views(bank, index))
    np.testing.assert_allclose(xy[0], resampler.to_input(points), atol=1e-3)
    difference = np.abs(seen[0, 0].numpy() - wanted)
    assert difference.mean() < 1.0, "un-augmented pictures differ from the live ones"
    assert np.quantile(difference, 0.99) < 8


def test_a_crop_and_its_face_are_each_others_inverse():
    points = face(3, 480, 640)[1]
    seen = data.face_of(points)
    np.testing.assert_allclose(data.face_in(data.box_of(seen)), seen, atol=0.51)
    eye = points[[KEYPOINTS.index(f"eye({part})") for part in data._EYE]].mean(0)
    muzzle = np.hypot(*(points[KEYPOINTS.index("nose(tip)")] - eye))
    assert seen[2] == pytest.approx(muzzle, abs=1e-3)
    assert data.box_of(seen).width == pytest.approx(256 * muzzle / CROP.muzzle_px, abs=0.51)
    points[KEYPOINTS.index("nose(tip)")] = np.nan
    assert data.anchored_face(points) is None
    assert data.face_of(points)[2] > 16


def test_labels_stay_on_their_pixels_under_any_view():
    bank = dotted_bank()
    index = torch.arange(12).repeat(5)
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
    assert views.empty.any(), "every view shows the face"
    assert (xy[views.empty] < -1000).all(), "what is out of sight is labelled somewhere"


def test_a_flip_mirrors_places_and_keeps_names():
    image, points = face(1003, 384, 512, "left")
    mirrored = points * [-1, 1] + [511, 0]
    _, other = face(1003, 384, 512, "right")
    np.testing.assert_allclose(mirrored, other, atol=1e-3)
    bank = one_bank(image, points)
    plain = augment.plain_views(bank, torch.tensor([0]))
    sign = torch.tensor([-1.0, 1.0])  # x -> 255 - x
    flipped = plain._replace(
        linear=plain.linear * sign[:, None], shift=plain.shift * sign + torch.tensor([255.0, 0.0])
    )
    seen, xy = augment.look(bank, torch.tensor([0]), flipped)
    straight, there = augment.look(bank, torch.tensor([0]), plain)
    np.testing.assert_allclose(seen[0, 0], straight[0, 0].numpy()[:, ::-1], atol=0.05)
    np.testing.assert_allclose(xy[0], there[0].numpy() * [-1, 1] + [255, 0], atol=1e-2)


def test_left_and_right_change_places_when_a_picture_is_mirrored():
    names = ["left_ear", "nose(tip)", "right_ear", "eye(front)"]
    image, _ = face(1003, 384, 512, "left")
    points = np.array([[100, 50], [250, 200], [400, 60], [300, 150]], np.float32)
    bank = banks_by_size([(image, points, np.array([256, 192, 200], np.float32))], [1.0])[0]
    index = torch.zeros(60, dtype=torch.int64)
    views = augment.random_views(bank, index, rng(5))
    stays = augment.look(bank, index, views)[1]
    bank = bank._replace(mirror=mirror_of(names))
    assert bank.mirror == (2, 1, 0, 3)
    swapped = augment.look(bank, index, views)[1]
    flipped = torch.linalg.det(views.linear) < 0
    assert 15 < int(flipped.sum()) < 45
    assert torch.equal(swapped[~flipped], stays[~flipped])
    assert torch.equal(swapped[flipped], stays[flipped][:, [2, 1, 0, 3]])
    # one without its partner: nothing is mirrored, and the views are else the same
    alone = augment.random_views(bank._replace(mirror=mirror_of(names[:2])), index, rng(5))
    assert (torch.linalg.det(alone.linear) > 0).all()
    assert torch.equal(alone.linear[~flipped], views.linear[~flipped])


@pytest.mark.parametrize(
    ("names", "mirror"),
    [
        (KEYPOINTS, tuple(range(len(KEYPOINTS)))),
        (("nose(r)", "bright", "upright_post", "eye(front)"), (0, 1, 2, 3)),
        (("earL", "earR", "paw_l", "paw_r"), (1, 0, 3, 2)),
        (("LeftEar", "x", "RightEar"), (2, 1, 0)),
        (("EarLeft", "EarRight"), (1, 0)),
        (("leftear", "rightear", "left eye"), None),
        (("nose(tip)", "ear_right"), None),
        (("RIGHT_EAR",), None),
    ],
)
def test_sides_are_in_names(names, mirror):
    assert mirror_of(names) == mirror
    assert bool(lonely(names)) == (mirror is None)


def test_normalising_a_batch_is_percentile_affine():
    image = np.random.default_rng(0).integers(20, 220, (192, 256), dtype=np.uint8)
    scale, shift = percentile_affine(image)
    seen = torch.from_numpy(image.astype(np.float32))[None, None]
    np.testing.assert_allclose(light.normalise(seen)[0, 0], image * scale + shift, atol=0.02)


def test_relit_pictures_stay_in_range_and_differ():
    seen = torch.from_numpy(face(2, 192, 256)[0].astype(np.float32))
    lit = light.relight(seen.expand(8, 1, -1, -1), rng(2))
    assert lit.shape == (8, 1, 192, 256)
    assert 0 <= float(lit.min()) <= float(lit.max()) <= 255
    assert float((lit[0] - lit[1]).abs().mean()) > 1


def test_what_is_put_behind_a_face_covers_no_keypoint():
    seen = torch.from_numpy(face(2, 192, 256)[0].astype(np.float32)).expand(64, 1, -1, -1).clone()
    points = torch.full((64, 4, 2), torch.nan)  # one of them is not labelled
    points[:, :3] = torch.rand(64, 3, 2, generator=rng(1)) * 60 + torch.tensor([90.0, 60.0])
    points[-1] = -1e4  # out of sight
    before = seen.clone()
    light.hide_ground(seen, points, rng(3))
    changed = (seen != before)[:, 0]
    assert not changed[-1].any()
    parts = changed[:-1].flatten(1).float().mean(1)
    assert 10 < int((parts > 0.01).sum()) < 55  # of 63, some
    assert 0 <= float(seen.min()) <= float(seen.max()) <= 255
    y, x = torch.meshgrid(torch.arange(192), torch.arange(256), indexing="ij")
    cells = torch.stack([x, y], -1).float()
    for picture, xy in zip(changed, points[:-1, :3], strict=False):
        nearest = torch.cdist(cells.view(-1, 2), xy).amin(1).view(192, 256)
        assert not picture[nearest < 1.9].any()


def test_pictures_of_a_bank_that_stays_upright_are_not_turned():
    image, points = face(1003, 384, 512, "left")
    bank = one_bank(image, points)
    index = torch.zeros(40, dtype=torch.int64)
    turned, upright = (
        augment.random_views(one, index, rng(5)).linear for one in (bank, bank._replace(turn=0.0))
    )
    # with no turn, down the picture stays down but for the shear
    assert float(turned[:, 1, 0].abs().max()) > 0.1
    assert float(upright[:, 1, 0].abs().max()) == 0


def test_pictures_of_any_sizes_become_a_bank_per_size():
    small, large = np.zeros((60, 80), np.uint8), np.full((400, 500), 7, np.uint8)
    points = np.full((16, 2), np.nan, np.float32)
    points[[2, 7]] = [[10, 20], [40, 30]]
    wide = points * 10
    shown = [(small, points), (large, wide), (small + 1, points + 1)]
    pictures = [(image, xy, data.face_of(xy)) for image, xy in shown]
    first, second = banks_by_size(pictures, [1.0, 2.0, 3.0])
    assert first.images.shape == (2, 60, 80)
    assert first.small.shape == (2, 30, 40)
    assert first.weights.tolist() == [1, 3]
    # a muzzle of 316 px is halved once, points and face with it
    assert second.images.shape == (1, 200, 250)
    np.testing.assert_allclose(second.points[0, 7], (np.array([400, 300]) + 0.5) / 2 - 0.5)
    assert float(second.faces[0, 2]) == pytest.approx(np.hypot(300, 100) / 2, abs=1e-3)


def test_a_small_face_is_not_halved_because_a_large_one_came_first():
    points = np.full((16, 2), np.nan, np.float32)
    points[0] = [100, 100]
    image = np.random.default_rng(0).integers(0, 255, (400, 500), np.uint8)
    close, far = (np.array([250, 200, muzzle], np.float32) for muzzle in (600.0, 90.0))
    for order in ((close, far), (far, close)):
        banks = banks_by_size([(image, points, one) for one in order], [1.0, 1.0])
        whole = {bank.images.shape[1:]: bank for bank in banks}
        assert sorted(whole) == [(100, 125), (400, 500)]
        assert whole[400, 500].images[0].numpy().tobytes() == image.tobytes()
        assert float(whole[400, 500].faces[0, 2]) == 90
        assert float(whole[100, 125].faces[0, 2]) == 150


def test_a_bank_of_other_keypoints():
    bank = one_bank(*face(3, 192, 256))
    more = renamed(bank, KEYPOINTS, ["paw", *reversed(KEYPOINTS)])
    assert torch.isnan(more.points[:, 0]).all()
    assert torch.equal(more.points[:, 1:], bank.points.flip(1))


# --- network, loss, fitting --------------------------------------------------------------------


def test_decoding_finds_a_known_peak():
    logits = torch.full((1, 2, 24, 32), -6.0)
    offsets = torch.zeros(1, 2, 2, 24, 32)
    spreads = torch.zeros(1, 2, 24, 32)
    logits[0, 0, 3, 5], logits[0, 1, 23, 31] = 2.0, 0.0
    logits[0, 0, 20, 20] = 1.9  # a second best elsewhere has no say
    offsets[0, 0, :, 3, 5] = torch.tensor([0.25, -0.5])
    spreads[0, 0, 3, 5] = math.log(0.5)
    logits -= 30 * (logits < -5)
    found = decode((logits, offsets, spreads))[0]
    np.testing.assert_allclose(found[0], [5 * 8 + 3.5 + 2, 3 * 8 + 3.5 - 4, 0.880797, 4], atol=1e-5)
    np.testing.assert_allclose(found[1], [31 * 8 + 3.5, 23 * 8 + 3.5, 0.5, 8], atol=1e-5)
    # a neighbour as sure as the best one, and of another opinion by one cell
    logits[0, 1, 22, 31] = 0.0
    assert decode((logits, offsets, spreads))[0, 1, 1] == pytest.approx(22.5 * 8 + 3.5)


def test_the_loss_is_least_at_the_truth_and_blind_to_what_is_not_labelled():
    points = torch.tensor([[[100.0, 50.0], [float("nan"), float("nan")], [-50.0, 30.0]]])
    cells = torch.stack(torch.meshgrid(torch.arange(24), torch.arange(32), indexing="ij")[::-1])
    wanted = (torch.tensor([100.0, 50.0]) + 0.5) / 8 - 0.5
    offsets = (wanted[:, None, None] - cells).expand(1, 3, 2, 24, 32).clone()
    logits = torch.full((1, 3, 24, 32), -9.0)
    logits[0, 0] = -4 * (offsets[0, 0] ** 2).sum(0)
    spreads = torch.zeros(1, 3, 24, 32)
    best = float(fit.loss((logits, offsets, spreads), points))
    blind = logits.clone()
    blind[0, 1] = 5.0
    assert float(fit.loss((blind, offsets, spreads), points)) == pytest.approx(best)
    for change in (torch.roll(logits, 3, 3), logits + torch.tensor([0, 0, 9.0])[:, None, None]):
        assert float(fit.loss((change, offsets, spreads), points)) > 2 * best
    assert float(fit.loss((logits, offsets + 0.5, spreads), points)) > best + 0.5
    # the likeliest spread of a miss is the miss
    miss = 0.5 * math.sqrt(2)
    values = [
        float(fit.loss((logits, offsets + 0.5, spreads + math.log(s * miss)), points))
        for s in (0.7, 1.0, 1.4)
    ]
    assert values[1] == min(values)


def test_the_spread_learns_how_far_off_labels_are():
    """One keypoint is labelled where it is, the other anywhere within some px of it."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    network = Network(2)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    seen = torch.randn(1, 1, 64, 64).expand(4, 1, 64, 64)
    for _ in range(60):
        points = np.full((4, 2, 2), 30.0, np.float32)
        points[:, 1] += random.uniform(-9, 9, (4, 2))
        fit.advance(network, fit.loss, optimiser, seen, torch.from_numpy(points))
    with torch.no_grad():
        sure, unsure = decode(network(seen))[0, :, 3].tolist()
    assert unsure > 1.5 * sure


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    bank = data.synthetic_bank(1000, 2, 2)
    seen, points = fit.batch([bank], [1.0], 16, rng())
    assert seen.shape == (16, 1, 192, 256)
    assert points.shape == (16, len(KEYPOINTS), 2)
    network = Network(len(KEYPOINTS))
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    values = [fit.advance(network, fit.loss, optimiser, seen, points) for _ in range(12)]
    assert values[-1] < 0.8 * values[0]


def test_fitting_is_repeatable_and_can_be_watched():
    bank = dotted_bank(3)
    made, told, watched = [], [], []
    for _ in range(2):
        network = lively(4)
        made.append(
            fit.fit(
                network,
                fit.loss,
                [bank],
                [1.0],
                fit.Schedule(3, 2),
                lambda step, value: told.append((step, value)),
                lambda step, average: watched.append((step, average)),
            )
        )
    weights = [[*one.state_dict().values()] for one in made]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert [step for step, _ in told] == [1, 2, 3] * 2
    assert told[:3] == told[3:]
    assert watched[-1] == (3, made[-1])


def test_folded_normalisations_stay_as_they_are(tmp_path):
    """What was read back says the same while it is trained as it did before."""
    network = lively(6)
    export.write_onnx(network, tmp_path / "model.onnx", Scoring())
    again = export.read_network(tmp_path / "model.onnx", KEYPOINTS, KEYPOINTS)
    fit.freeze_norms(again)
    further = fit.fit(again, fit.loss, [dotted_bank(3)], [1.0], fit.Schedule(2, 2, rate=0.0))
    seen = torch.rand(6, 1, 64, 96)
    with torch.no_grad():
        for wanted, found in zip(network(seen), further(seen), strict=True):
            np.testing.assert_allclose(found, wanted, atol=5e-3)
    norms = [m for m in further.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert all(float(norm.running_mean.abs().max()) == 0 for norm in norms)
    fresh = lively(6)
    with_noise = fit.fit(fresh, fit.loss, [dotted_bank(3)], [1.0], fit.Schedule(2, 2, rate=0.0))
    before = lively(6).stem[1].running_mean
    assert not torch.equal(with_noise.stem[1].running_mean, before), "others do measure"


# --- bundles -----------------------------------------------------------------------------------


def test_the_export_equals_torch_and_the_bundle_is_whole(tmp_path):
    network = lively(1)
    scoring = Scoring(0.3, 0.8, -0.5)
    export.write_bundle(network, tmp_path / "bundle", "test", {}, {}, scoring, card="# Card\n")
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.crop == CROP._replace(sure=scoring.sure)
    assert scoring.sure == pytest.approx(1 / (1 + 3**0.8 * np.exp(-0.3)))
    assert bundle.about["score"] == scoring._asdict()
    engine = make_engine(bundle, "onnxruntime")
    deployed = export.Deployed(network, scoring)
    for seed in range(3):
        image = face(seed, 192, 256)[0]
        scale, shift = percentile_affine(image)
        found = engine.infer(image, scale, shift)
        with torch.no_grad():
            wanted = deployed(torch.from_numpy(image), torch.tensor(scale), torch.tensor(shift))
        assert found.shape == (16, 3)
        np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert sorted(p.name for p in (tmp_path / "bundle").iterdir()) == [
        "MODEL_CARD.md",
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


def test_a_network_is_read_back_with_the_keypoints_asked_for(tmp_path):
    network = lively(2)
    export.write_onnx(network, tmp_path / "model.onnx", Scoring())
    wanted = ["tongue", *reversed(KEYPOINTS)]
    again = export.read_network(tmp_path / "model.onnx", KEYPOINTS, wanted).eval()
    seen = torch.randn(2, 1, 192, 256)
    with torch.no_grad():
        for old, new in zip(network(seen), again(seen), strict=True):
            np.testing.assert_allclose(new[:, 1:], old.flip(1), atol=5e-3)
        assert float(torch.sigmoid(again(seen)[0][:, 0]).max()) < 0.01, "a new one is somewhere"
    with pytest.raises(UserError, match="recipe"):
        export.read_network(make_bundle(tmp_path / "tiny") / "model.onnx", KEYPOINTS, KEYPOINTS)
    with pytest.raises(UserError, match="recipe"):
        export.read_network(tmp_path / "model.onnx", KEYPOINTS[:-1], KEYPOINTS)


# --- labels ------------------------------------------------------------------------------------


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


def test_folds_leave_out_whole_animals_and_one_video():
    animals = [name for fold in data.FOLDS for name in fold]
    assert len(animals) == len(set(animals)) == 16
    nothing = np.zeros((16, 2), np.float32)
    groups = [*animals, "cam1_G7c1_1", data.HELD_OUT_VIDEO]
    stills = [data.Still(Path(f"{g}.png"), nothing, g, g) for g in groups]
    for fold in range(len(data.FOLDS)):
        kept, held = data.split(stills, fold)
        assert {s.group for s in held} == {*data.FOLDS[fold], data.HELD_OUT_VIDEO}
        assert len(kept) + len(held) == len(stills)


@needs_data
@pytest.mark.data
def test_real_labels_read_as_described():
    facemap, schroeder = data.read_facemap(DATA), data.read_schroeder(DATA)
    assert (len(facemap), len(schroeder)) == (132, 291)
    known, held = data.split(facemap, 0)
    assert (len(known), len(held)) == (113, 19)
    for fold in range(len(data.FOLDS)):
        apart = [{s.group for s in part} for part in data.split(schroeder, fold)]
        assert not apart[0] & apart[1]
        assert len(apart[1]) == 4
    truth = np.stack([still.points for still in held])
    mean = evaluate.mean_label(np.stack([still.points for still in known]))
    recordings = [still.recording for still in held]
    rows = {r.name: r for r in evaluate.table(truth, truth, recordings, mean, KEYPOINTS)}
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


# --- figures -----------------------------------------------------------------------------------


def test_the_table_counts_each_keypoint_alike():
    truth = np.full((4, 16, 2), np.nan, np.float32)
    truth[:, [0, 2]] = [[[40, 0], [0, 0]]] * 4  # eye width 40 px
    truth[0, 5] = [10, 10]  # mouth once
    truth[:, 7] = [0, 50]  # nose(tip) always
    truth[2, 7] = [6, 50]
    found = np.nan_to_num(truth) + np.float32([3, 4])
    found[0, 5] += [0, 10]
    table = evaluate.table(found, truth, ["a", "a", "b", "b"], np.zeros((16, 2)), KEYPOINTS)
    rows = {r.name: r for r in table}
    assert rows["nose(tip)"].error_px == pytest.approx(5)
    assert rows["nose(tip)"].constant_px == pytest.approx((150 + np.hypot(6, 50)) / 4)
    assert rows["nose(tip)"].own_mean_px == pytest.approx((0 + 0 + 3 + 3) / 4)
    assert rows["nose(tip)"].error_eye_pct == pytest.approx(12.5)
    far = np.hypot(3, 14)
    assert rows["nose, mouth, lip"].error_px == pytest.approx((5 + far) / 2)
    assert rows["mouth"].n == 1
    assert "pupil" not in rows


def test_a_table_without_the_eye_has_px_alone():
    truth = np.full((2, 16, 2), np.nan, np.float32)
    truth[:, 7] = 5
    (row, part) = evaluate.table(truth + 1, truth, "ab", truth[0], KEYPOINTS)
    assert (row.name, part.name) == ("nose(tip)", "nose, mouth, lip")
    assert row.error_px == pytest.approx(math.sqrt(2))
    assert math.isnan(row.error_eye_pct)


def test_scoring_recovers_the_chances_that_made_its_data():
    random = np.random.default_rng(0)
    true = Scoring(-0.7, 0.6, -1.2)
    peak = random.uniform(0.02, 0.98, 20_000).astype(np.float32)
    spread = np.exp(random.normal(1, 0.7, 20_000)).astype(np.float32)
    chance = true.of(torch.from_numpy(peak), torch.from_numpy(spread)).numpy()
    right = random.uniform(size=20_000) < chance
    found = fit_scoring(peak, spread, right, np.ones(20_000, np.float32))
    np.testing.assert_allclose(found[:3], true[:3], atol=0.12)
    assert found.spread == pytest.approx(np.median(spread))
    # what weighs nothing says nothing
    weight = np.r_[np.ones(20_000), np.zeros(500)].astype(np.float32)
    more = [np.r_[one, one[:500]] for one in (peak, spread)]
    again = fit_scoring(*more, np.r_[right, ~right[:500]], weight)
    np.testing.assert_allclose(again[:3], found[:3], atol=1e-4)
    assert Scoring().of(torch.tensor(0.8), torch.tensor(3.0)) == pytest.approx(0.8)


def test_separable_scores_stay_finite():
    peak = np.float32([0.1, 0.2, 0.8, 0.9] * 30)
    found = fit_scoring(peak, np.ones(120, np.float32), peak > 0.5, np.ones(120, np.float32))
    assert np.isfinite(found).all()
    assert found.by_peak > 1


def test_bootstrap_covers_a_mean():
    values = np.random.default_rng(3).normal(10, 2, 400)
    interval = measures.bootstrap(lambda at: float(values[at].mean()), 400)
    assert interval.value == values.mean()
    half = 1.96 * values.std() / 20
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)
    assert str(measures.Interval(1.25, 1, 2)) in ("1.2 (1.0 to 2.0)", "1.3 (1.0 to 2.0)")


def looked_at(n=4):
    """Faces with an eye 100 px wide: right is within 5 px."""
    truth = np.full((n, 16, 2), np.nan, np.float32)
    truth[:, 0], truth[:, 2] = [100, 0], [0, 0]
    found = np.zeros((n, 16, 3), np.float32)
    found[..., :2] = np.nan_to_num(truth)
    return found, truth


def test_certainty_counts_labelled_points_only():
    found, truth = looked_at()
    found[:, 0, 2], found[:, 2, 2] = 0.95, 0.5
    found[0, 0, 0] += 5.1  # sure and wrong
    found[1, 2, 0] += 4.9  # right, unsure
    found[:, 5, 2] = 1.0  # nobody labelled it
    said = measures.certainty(found, truth, KEYPOINTS)
    assert said == (8, 7 / 8, 0.5, 0.75)
    found[..., 2] = 0
    assert math.isnan(measures.certainty(found, truth, KEYPOINTS).sure_and_right)


def test_the_pupil_is_judged_by_its_centre_and_diameter():
    found, truth = looked_at(5)
    columns = [KEYPOINTS.index(name) for name in measures.PUPIL]
    around = np.float32([[0, -1], [-1, 0], [0, 1], [1, 0]])
    for i in range(4):  # the last has no pupil
        truth[i, columns] = [50, 0] + around * (5 + i)
        found[i, columns, :2] = [53, 4] + around * (2 * (5 + i) + 1)
    error = measures.pupil_error(found, truth, KEYPOINTS)
    assert error.centre_px == pytest.approx(5)
    assert error.diameter_r == pytest.approx(1)


def test_stillness_of_noise_and_of_a_jump():
    random = np.random.default_rng(1)
    track = np.zeros((601, 2, 2), np.float32)
    track[:, 0] = random.normal(0, 0.2, (601, 2))
    track[300:, 1, 0] = 6  # one jump of 6 % of the eye's width
    noisy, jumps = measures.stillness(track, np.ones(600, bool), 100.0, 10.0)
    assert noisy.jitter_px == pytest.approx(0.2 * math.sqrt(2), rel=0.1)
    assert noisy.speed_px_s == pytest.approx(10 * 0.2 * math.sqrt(2) * 1.177, rel=0.1)
    assert noisy.jumps_per_min == 0
    assert jumps.speed_px_s == 0
    assert jumps.jumps_per_min == pytest.approx(1)
    quiet = np.arange(600) != 299
    assert measures.stillness(track, quiet, 100.0, 10.0)[1].jumps_per_min == 0


def test_quiet_steps_are_those_without_change():
    images = np.zeros((7, 4, 4), np.float32)
    images[4:] += 9
    images[6] += 5
    assert measures.quiet_steps(images).tolist() == [True, True, True, False, True, False]
