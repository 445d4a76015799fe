"""Both networks on lines, on planes that are not square, and within open edges."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, linearize
from torch.nn import functional as F

from surroscope.cost_function import smse
from surroscope.influence.linearize import Linearization, Method
from surroscope.models import surrogate, unet, vit
from surroscope.models.layers import Conv, Grid, pad, pixel_shuffle

FIELDS = 3
SMALL = {
    "unet": (unet.build, {"width": 4, "stages": 2, "kernels": (5, 3, 3), "blocks": 1}),
    "vit": (vit.build, {"width": 8, "depth": 1, "heads": 2}),
}
GRIDS = [(1, 32), (16, 48), (16, 16)]
LINE, OPEN = Grid(line=True), Grid(boundary="open")


pytestmark = pytest.mark.usefixtures("one_thread")


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5


def make(name: str, size: int | tuple[int, int], boundary: str = "periodic") -> nn.Module:
    """A network in float64, off the special point of zero biases."""
    build, options = SMALL[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(FIELDS, size, boundary=boundary, **options).double()
    for number, parameter in enumerate(network.parameters()):
        parameter.data += 0.1 * (noise(*parameter.shape, seed=100 + number) - 0.5)
    return network


@pytest.fixture(params=[(n, g, b) for n in SMALL for g in GRIDS[:2] for b in ("periodic", "open")], ids=str)
def case(request) -> tuple[nn.Module, Tensor]:
    """A network and a batch of states on its grid."""
    name, grid, boundary = request.param
    return make(name, grid, boundary), noise(3, FIELDS, *grid)


@pytest.mark.parametrize("boundary", ["periodic", "open"])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("name", SMALL)
def test_output_has_the_shape_of_the_input(name: str, grid: tuple[int, int], boundary: str) -> None:
    network, x = make(name, grid, boundary), noise(2, FIELDS, *grid)
    assert network(x).shape == x.shape
    assert torch.isfinite(network(x)).all()


@pytest.mark.parametrize("name", SMALL)
def test_a_pair_of_equal_numbers_is_their_number(name: str) -> None:
    x = noise(1, FIELDS, 16, 16)
    assert torch.equal(make(name, (16, 16))(x), make(name, 16)(x))


@pytest.mark.parametrize("name", SMALL)
def test_a_line_takes_kernels_of_one_row(name: str) -> None:
    convolutions = [layer for layer in make(name, (1, 32)).modules() if isinstance(layer, Conv)]
    assert all(layer.weight.shape[-2] == 1 for layer in convolutions)
    assert {layer.weight.shape[-1] for layer in convolutions} == {"unet": {1, 3, 5}, "vit": {5}}[name]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_the_pixel_shuffle_undoes_the_cutting_of_patches(grid: tuple[int, int]) -> None:
    x = noise(2, FIELDS, *grid)
    along = 1 if grid[0] == 1 else 4, 4
    patches = F.unfold(x, along, stride=along).unflatten(-1, [cells // a for cells, a in zip(grid, along, strict=True)])
    assert torch.equal(pixel_shuffle(patches, 4, Grid(line=grid[0] == 1)), x)


@pytest.mark.parametrize("shift", [4, -8, 12])
def test_the_unet_commutes_with_shifts_along_a_line_by_its_stride(shift: int) -> None:
    network, x = make("unet", (1, 32)), noise(2, FIELDS, 1, 32)
    assert (network(x.roll(shift, -1)) - network(x).roll(shift, -1)).abs().max() < 1e-10
    assert (network(x.roll(1, -1)) - network(x).roll(1, -1)).abs().max() > 1e-4


def test_the_unet_commutes_with_shifts_along_both_axes_of_a_plane_that_is_not_square() -> None:
    network, x = make("unet", (16, 48)), noise(1, FIELDS, 16, 48)
    assert (network(x.roll((4, -8), (-2, -1))) - network(x).roll((4, -8), (-2, -1))).abs().max() < 1e-10


def test_the_vit_commutes_with_shifts_along_a_line_but_for_its_position() -> None:
    network, x = make("vit", (1, 32)), noise(1, FIELDS, 1, 32)
    torch.nn.init.zeros_(network.position)
    assert (network(x.roll(8, -1)) - network(x).roll(8, -1)).abs().max() < 1e-10


@pytest.mark.parametrize("name", SMALL)
def test_an_open_edge_is_no_seam(name: str) -> None:
    network, x = make(name, (1, 32), "open"), noise(1, FIELDS, 1, 32)
    if name == "vit":
        torch.nn.init.zeros_(network.position)
    assert (network(x.roll(8, -1)) - network(x).roll(8, -1)).abs().max() > 1e-4


@pytest.mark.parametrize("padding", [(0, 0), (1, 0), (0, 2), (3, 3), (6, 7)])
def test_an_open_edge_repeats_the_nearest_cell(padding: tuple[int, int]) -> None:
    x = noise(2, FIELDS, 5, 4)
    assert torch.equal(pad(x, *padding, OPEN), F.pad(x, (*padding, *padding), mode="replicate"))
    row = x[..., :1, :]
    assert torch.equal(pad(row, *padding, Grid(True, "open")), F.pad(row, (*padding, 0, 0), mode="replicate"))
    if max(padding) <= 4:
        assert torch.equal(pad(row, *padding, LINE), F.pad(row, (*padding, 0, 0), mode="circular"))


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_an_open_convolution_is_the_one_of_torch_and_differs_at_the_edge_alone(kernel: int) -> None:
    x, reach = noise(2, FIELDS, 12, 20), kernel // 2
    ours, torchs = Conv(FIELDS, 2, kernel, grid=OPEN).double(), nn.Conv2d(FIELDS, 2, kernel).double()
    torchs.weight, torchs.bias = ours.weight, ours.bias
    assert torch.equal(ours(x), torchs(F.pad(x, [reach] * 4, mode="replicate")))
    wrapped = Conv(FIELDS, 2, kernel).double()
    wrapped.weight, wrapped.bias = ours.weight, ours.bias
    differs = (ours(x) != wrapped(x)).any(1).any(0)
    edge = torch.ones(12, 20, dtype=torch.bool)
    edge[reach : 12 - reach, reach : 20 - reach] = False
    assert torch.equal(differs, edge)


def test_both_ways_to_gradients_of_samples_agree(case: tuple[nn.Module, Tensor]) -> None:
    network, x = case
    linear, y = Linearization(network), noise(*x.shape, seed=2)
    first, second = (linear.gradients(smse, x, y, Method(gradients=g, sample_chunk=2)) for g in ("vmap", "loop"))
    torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-12)
    smse(network(x[1:2]), y[1:2], x[1:2]).backward()
    alone = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
    torch.testing.assert_close(first[1], alone, rtol=1e-9, atol=1e-12)


def test_tangents_agree_with_central_differences_and_both_ways_agree(case: tuple[nn.Module, Tensor]) -> None:
    network, x = case
    parameters = {name: parameter.detach() for name, parameter in network.named_parameters()}
    along = {name: noise(*p.shape, seed=30 + k) - 0.5 for k, (name, p) in enumerate(parameters.items())}

    def predict(tree: dict[str, Tensor]) -> Tensor:
        return functional_call(network, tree, (x,))

    tangent = jvp(predict, (parameters,), (along,))[1]
    step = 1e-5
    ahead, behind = (predict({n: p + sign * step * along[n] for n, p in parameters.items()}) for sign in (1, -1))
    scale = tangent.abs().max().item()
    torch.testing.assert_close(tangent, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-6 * scale)
    vector = torch.cat([part.flatten() for part in along.values()])[None]
    for way in ("vmap", "double_backward"):
        found = Linearization(network).tangents(x, vector, Method(tangents=way))[0]
        torch.testing.assert_close(found, tangent.flatten(1), rtol=1e-9, atol=1e-9 * scale)


def test_an_open_edge_can_be_linearised() -> None:
    layer, x = Conv(FIELDS, 2, 5, grid=OPEN).double(), noise(1, FIELDS, 6, 8)
    y, push = linearize(layer, x)
    torch.testing.assert_close(push(x), y - layer.bias.detach()[:, None, None])


@pytest.mark.filterwarnings("error:There is a performance drop")
def test_no_operation_falls_back_to_a_slow_batching_loop(case: tuple[nn.Module, Tensor]) -> None:
    network, x = case
    linear = Linearization(network)
    linear.tangents(x, noise(2, linear.size), Method())
    linear.gradients(smse, x, x.flip(0), Method())


@pytest.mark.parametrize(
    ("build", "size", "options", "named"),
    [
        (unet.build, (16, 36), {"stages": 3}, "size: found 36, expected a multiple of .* = 8"),
        (unet.build, (36, 16), {"stages": 3}, "size: found 36, expected a multiple of .* = 8"),
        (unet.build, (1, 36), {"stages": 3}, "size: found 36, expected a multiple of .* = 8"),
        (unet.build, (2, 32), {"stages": 2}, "size: found 2, expected a multiple of .* = 4"),
        (unet.build, (16, 1), {}, "size: found 1, expected a multiple of"),
        (unet.build, (1, 8), {"stages": 1}, "kernels: found 11 at a depth of 8 grid points, expected at most 8"),
        (unet.build, (16, 48), {}, "kernels: found 5 at a depth of 4 x 12 grid points, expected at most 4"),
        (unet.build, (16, 48), {"width": 7}, "width: found 7, expected an even number"),
        (vit.build, (16, 30), {}, "patch: found 4, expected a divisor of size = 30"),
        (vit.build, (30, 16), {}, "patch: found 4, expected a divisor of size = 30"),
        (vit.build, (1, 30), {}, "patch: found 4, expected a divisor of size = 30"),
        *[
            (build, size, options, named)
            for build in (unet.build, vit.build)
            for size, options, named in (
                (0, {}, "size: found 0, expected an integer of at least 1"),
                (32.0, {}, "size: found 32.0, expected an integer of at least 1"),
                ((8, 8, 8), {}, r"size: found \(8, 8, 8\), expected .* two of them \(Y, X\)"),
                ((0, 8), {}, r"size: found \(0, 8\)"),
                ((1.0, 8), {}, r"size: found \(1\.0, 8\)"),
                (32, {"boundary": "closed"}, "boundary: found 'closed', expected 'periodic' or 'open'"),
            )
        ],
    ],
)
def test_a_grid_that_cannot_be_built_on_is_named(build, size, options: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        build(4, size, **options)


def test_a_line_needs_no_even_width() -> None:
    assert unet.build(2, (1, 16), width=5, stages=1, kernels=(3, 3), heads=2)(torch.ones(1, 2, 1, 16)).shape[-1] == 16


class Echo(nn.Module):
    """Keeps what it was made with."""

    def __init__(self, **made: object) -> None:
        super().__init__()
        self.made, self.scale = made, nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x


def plain(channels: int, size: int, width: int = 1) -> nn.Module:
    return Echo(channels=channels, size=size)


def bounded(channels: int, size: int, boundary: str = "periodic") -> nn.Module:
    return Echo(channels=channels, size=size, boundary=boundary)


@pytest.mark.parametrize(("grid", "size"), [((8, 8), 8), ((4, 8), (4, 8)), ((1, 8), (1, 8))])
def test_a_factory_is_told_its_grid_and_the_boundary_if_it_asks(grid: tuple[int, int], size: object) -> None:
    for function, expected in (("plain", {}), ("bounded", {"boundary": "open"})):
        network = surrogate.build(f"{__name__}:{function}", {}, shape=(2, *grid), boundary="open", seed=0)
        assert network.made == {"channels": 2, "size": size} | expected


def test_a_network_of_the_package_is_built_on_a_line_with_open_edges() -> None:
    network = surrogate.build(
        "surroscope.models.unet:build", SMALL["unet"][1], shape=(2, 1, 16), boundary="open", seed=0
    )
    assert network.grid == Grid(line=True, boundary="open")
