from collections.abc import Iterator

import numpy as np
import pytest
import torch

from rtface.facemap.weights import shapes
from rtface.train.fmnet import SIGMA, FMnet, decode, loss

pytestmark = pytest.mark.networks

CHANNELS = (4, 5, 6, 7, 8)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks wait longer for other threads than they take."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("channels", "k"), [((16, 32, 64, 128, 200), 15), (CHANNELS, 15), (CHANNELS, 3)]
)
def test_its_state_has_facemap_s_keys_and_shapes(channels: tuple[int, ...], k: int) -> None:
    state = FMnet(channels, k).state_dict()
    assert {key: tuple(tensor.shape) for key, tensor in state.items()} == shapes(channels, k)


def test_the_default_has_as_many_parameters_as_facemap_s() -> None:
    assert sum(p.numel() for p in FMnet().parameters()) == 1_561_631


def test_heat_maps_add_up_to_10_in_training_alone() -> None:
    network = FMnet(CHANNELS, 3)
    picture = torch.randn(2, 1, 64, 64)
    heat, rows, columns = network(picture)
    assert heat.shape == rows.shape == columns.shape == (2, 3, 16, 16)
    sums = heat.detach().sum((2, 3))
    np.testing.assert_allclose(sums[sums > 0.1], 10, rtol=0.01)
    network.eval()
    assert network(picture)[0].detach().min() >= 0
    torch.testing.assert_close(
        network(picture, normalise=True)[0].sum((2, 3)).max(), torch.tensor(10.0), rtol=1e-3, atol=0
    )


def perfect(
    points: torch.Tensor, side: int = 64
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Maps that say exactly where points (B, K, 2) are."""
    at = points / 4
    rows = torch.arange(side)[:, None] - at[..., 1, None, None]
    columns = torch.arange(side)[None, :] - at[..., 0, None, None]
    bump = torch.exp(-(rows**2 + columns**2) / (2 * SIGMA**2))
    heat = 10 * bump / (bump.sum((2, 3), keepdim=True) + 1e-3)
    return heat, (rows / 6).expand_as(heat), (columns / 6).expand_as(heat)


def test_perfect_maps_lose_nothing_and_decode_to_their_points() -> None:
    points = torch.rand(3, 5, 2) * 220 + 15
    maps = perfect(points)
    assert loss(maps, points) < 1e-3
    found = decode(maps)
    torch.testing.assert_close(found[..., :2], points, atol=1e-3, rtol=0)
    torch.testing.assert_close(found[..., 2], torch.sigmoid(maps[0].amax((2, 3))))


def test_the_loss_is_that_of_the_labelled_points_alone() -> None:
    points = torch.rand(2, 3, 2) * 200 + 20
    maps = perfect(points)
    moved = points + torch.tensor([8.0, 0.0])
    whole = loss(maps, moved)
    assert whole > 1
    moved[0, 0] = torch.nan
    moved[1, 1] = torch.tensor([300.0, 10.0])  # outside
    moved[1, 2] = torch.tensor([-1.0, 10.0])
    torch.testing.assert_close(loss(maps, moved), whole, rtol=0.2, atol=0)
    moved[:, :, 0] = torch.nan
    assert loss(maps, moved) == 0


def test_half_of_the_offsets_error_counts() -> None:
    point = torch.tensor([[[128.0, 128.0]]])  # on cell (32, 32): 29 cells within 3
    heat, rows, columns = perfect(point)
    torch.testing.assert_close(loss((heat, rows + 0.6, columns + 0.8), point), torch.tensor(14.5))


def test_it_learns_and_every_gradient_is_a_number() -> None:
    torch.manual_seed(0)
    network = FMnet(CHANNELS, 2)
    picture = torch.randn(2, 1, 32, 32)
    points = torch.tensor([[[20.0, 30.0], [torch.nan, 0]], [[8.0, 12.0], [24.0, 24.0]]])
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(25):
        optimiser.zero_grad()
        value = loss(network(picture), points)
        value.backward()
        assert all(bool(torch.isfinite(p.grad).all()) for p in network.parameters())
        optimiser.step()
        losses.append(float(value.detach()))
    assert losses[-1] < losses[0] / 2
