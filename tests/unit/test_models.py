"""The surrogate networks: sizes, symmetries, and every derivative that influence needs."""

import copy

import pytest
import torch
from torch.func import functional_call, grad, jvp, linearize, vjp, vmap
from torch.nn import functional as F

from surroscope.models import unet, vit
from surroscope.models.layers import Attention, Conv, RMSNorm, SpatialNorm, pad

SMALL = {
    "unet": (unet.build, {"width": 4, "stages": 2, "kernels": (5, 3, 3)}),
    "vit": (vit.build, {"width": 8, "depth": 2, "heads": 2}),
}


pytestmark = pytest.mark.usefixtures("one_thread")


def seeded(build, *arguments, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(*arguments, **options)


def states(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype) + 0.5


@pytest.fixture(params=SMALL)
def small(request):
    """A surrogate of about 10^4 parameters in float64, its parameters, and a batch of 3 inputs on a 16 x 16 grid."""
    build, options = SMALL[request.param]
    model = seeded(build, 3, 16, **options).double()
    # Initial zeros (biases, shifts) are special points: derivatives are checked at a generic one.
    for number, parameter in enumerate(model.parameters()):
        parameter.data += 0.1 * (states(*parameter.shape, seed=100 + number) - 0.5)
    return model, {name: parameter.detach() for name, parameter in model.named_parameters()}, states(3, 3, 16, 16)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def predict(model):
    return lambda parameters, x: functional_call(model, parameters, (x,))


def direction(parameters, seed):
    return {name: states(*value.shape, seed=seed + k) - 0.5 for k, (name, value) in enumerate(parameters.items())}


@pytest.mark.parametrize(
    ("build", "options", "low", "high"),
    [
        (unet.build, {}, 13.85e6, 13.95e6),
        (vit.build, {}, 5.02e6, 5.04e6),
        (vit.build, {"depth": 8, "mlp_ratio": 2}, 4.45e6, 4.55e6),
    ],
)
def test_parameter_count_at_the_size_of_the_paper(build, options, low, high):
    assert low < count(build(4, 128, **options)) < high


def test_small_networks_have_about_a_hundred_thousand_parameters():
    assert 8e4 < count(unet.build(4, 32, width=6, stages=2)) < 1.3e5
    assert 8e4 < count(vit.build(4, 32, width=64, depth=2, heads=4)) < 1.3e5


@pytest.mark.parametrize(
    ("build", "channels", "size", "options"),
    [
        (unet.build, 4, 16, {"width": 4, "stages": 1, "kernels": (3, 3)}),
        (unet.build, 2, 32, {"width": 6, "stages": 2}),
        (unet.build, 4, 48, {"width": 4, "stages": 3, "blocks": 1}),
        (unet.build, 1, 64, {"width": 4, "stages": 4}),
        (vit.build, 4, 16, {"width": 16, "depth": 1}),
        (vit.build, 2, 48, {"width": 16, "depth": 1, "patch": 6}),
        (vit.build, 3, 12, {"width": 16, "depth": 1, "patch": 3}),
        (vit.build, 1, 8, {"width": 16, "depth": 1, "patch": 1}),
    ],
)
def test_output_has_the_shape_of_the_input(build, channels, size, options):
    model = seeded(build, channels, size, **options)
    for batch in (1, 3):
        y = model(states(batch, channels, size, size, dtype=torch.float32))
        assert y.shape == (batch, channels, size, size)
        assert y.dtype == torch.float32
        assert torch.isfinite(y).all()


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_unet_commutes_with_shifts_by_its_stride_and_not_by_one_pixel(stages):
    size, stride = 32, 2**stages
    model = seeded(unet.build, 2, size, width=4, stages=stages, kernels=(7, 5, 3, 3)).double()
    x = states(2, 2, size, size)
    with torch.no_grad():
        y = model(x)

        def defect(*shift):
            return (model(x.roll(shift, (-2, -1))) - y.roll(shift, (-2, -1))).abs().max()

        for shift in ((stride, 0), (0, stride), (-stride, 3 * stride)):
            assert defect(*shift) < 1e-10
        assert defect(1, 0) > 1e-4
        assert defect(0, 1) > 1e-4


def test_vit_position_embedding_breaks_shifts():
    model = seeded(vit.build, 2, 16, width=16, depth=1, heads=2).double()
    x = states(1, 2, 16, 16)
    shifted = model(x.roll(4, -1)) - model(x).roll(4, -1)
    assert shifted.abs().max() > 1e-4
    torch.nn.init.zeros_(model.position)
    assert (model(x.roll(4, -1)) - model(x).roll(4, -1)).abs().max() < 1e-10


def test_each_vit_token_sees_all_of_the_patch_that_it_predicts():
    model = seeded(vit.build, 1, 16, width=16, depth=1, heads=2)
    for block in model.blocks:
        torch.nn.init.zeros_(block.attention.project_out.weight)
    x = states(1, 1, 16, 16, dtype=torch.float32).requires_grad_()
    (seen,) = torch.autograd.grad(model(x)[0, 0, 4:8, 8:12].square().sum(), x)
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[3:8, 7:12] = True
    assert torch.equal(seen[0, 0] != 0, expected)


def test_samples_of_a_batch_do_not_interact(small):
    model, _, x = small
    alone = torch.cat([model(sample[None]) for sample in x])
    torch.testing.assert_close(model(x), alone, rtol=0, atol=1e-12)
    model.train()
    torch.testing.assert_close(model(x), model.eval()(x), rtol=0, atol=0)


def test_amplitude_and_mean_of_the_state_reach_the_nonlinear_part(small):
    model, _, x = small
    linear_in_amplitude = model(2 * x) - 2 * model(x) + model(0 * x)
    assert linear_in_amplitude.abs().max() > 1e-3
    linear_in_mean = model(x + 1) - 2 * model(x) + model(x - 1)
    assert (linear_in_mean - linear_in_mean.mean((-2, -1), keepdim=True)).abs().max() > 1e-3


def test_every_parameter_gets_a_finite_gradient(small):
    model, _, x = small
    model(x).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 1e-12, name


def test_gradients_stay_finite_on_uniform_states(small):
    model, _, x = small
    for value in (0.0, 1.0):
        model.zero_grad()
        model(torch.full_like(x, value)).square().mean().backward()
        assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def test_per_sample_gradients_agree_with_a_loop(small):
    model, parameters, x = small
    target = states(*x.shape, seed=7)

    def loss(parameters, x, y):
        return (predict(model)(parameters, x[None]) - y[None]).square().mean()

    batched = vmap(grad(loss), (None, 0, 0))(parameters, x, target)
    for index in range(len(x)):
        model.zero_grad()
        (model(x[index : index + 1]) - target[index : index + 1]).square().mean().backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(batched[name][index], parameter.grad, rtol=1e-9, atol=1e-11)


def test_tangent_agrees_with_central_differences(small):
    model, parameters, x = small
    along = direction(parameters, seed=20)
    y, tangent = jvp(lambda p: predict(model)(p, x), (parameters,), (along,))
    torch.testing.assert_close(y, model(x))

    def moved(step):
        return predict(model)({name: value + step * along[name] for name, value in parameters.items()}, x)

    step = 1e-5
    difference = (moved(step) - moved(-step)) / (2 * step)
    torch.testing.assert_close(tangent, difference, rtol=1e-6, atol=1e-6 * tangent.abs().max().item())


def test_batched_tangents_agree_with_a_loop(small):
    model, parameters, x = small
    several = [direction(parameters, seed=50 * k) for k in range(4)]
    stacked = {name: torch.stack([one[name] for one in several]) for name in parameters}

    def tangent(along):
        return jvp(lambda p: predict(model)(p, x), (parameters,), (along,))[1]

    torch.testing.assert_close(vmap(tangent)(stacked), torch.stack([tangent(one) for one in several]))


def test_tangent_is_the_adjoint_of_the_pullback_and_equals_the_linearised_map(small):
    model, parameters, x = small
    along, against = direction(parameters, seed=30), states(*x.shape, seed=40)
    _, tangent = jvp(lambda p: predict(model)(p, x), (parameters,), (along,))
    _, pull = vjp(lambda p: predict(model)(p, x), parameters)
    (back,) = pull(against)
    pulled = sum((along[name] * back[name]).sum() for name in parameters)
    torch.testing.assert_close((tangent * against).sum(), pulled, rtol=1e-11, atol=0)
    _, push = linearize(lambda p: predict(model)(p, x), parameters)
    torch.testing.assert_close(push(along), tangent)


@pytest.mark.filterwarnings("error:There is a performance drop")
def test_no_operation_falls_back_to_a_slow_batching_loop(small):
    model, parameters, x = small
    along = {name: torch.stack([value, value]) for name, value in direction(parameters, seed=3).items()}
    vmap(lambda t: jvp(lambda p: predict(model)(p, x), (parameters,), (t,))[1])(along)
    vmap(grad(lambda p, x: predict(model)(p, x[None]).square().mean()), (None, 0))(parameters, x)


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_fixes_the_network(name):
    build, options = SMALL[name]
    first, again, other = (seeded(build, 3, 16, seed=seed, **options) for seed in (10, 10, 35))
    x = states(2, 3, 16, 16, dtype=torch.float32)
    assert torch.equal(first(x), again(x))
    assert torch.equal(first(x), copy.deepcopy(first)(x))
    assert not torch.allclose(first(x), other(x))
    loaded = seeded(build, 3, 16, seed=1, **options)
    loaded.load_state_dict(first.state_dict())
    assert torch.equal(first(x), loaded(x))


@pytest.mark.parametrize("name", SMALL)
def test_initial_predictions_have_the_order_of_the_input(name):
    build, options = SMALL[name]
    for seed in range(3):
        y = seeded(build, 3, 32, seed=seed, **options)(states(4, 3, 32, 32, dtype=torch.float32))
        assert 0.2 < y.std() < 5


@pytest.mark.parametrize(
    ("build", "size", "options", "named"),
    [
        (unet.build, 36, {"stages": 3}, "size: found 36, expected a multiple of .* = 8"),
        (unet.build, 32, {"stages": 2, "width": 7}, "width: found 7, expected an even number"),
        (unet.build, 32, {"stages": 2, "width": 6, "heads": 5}, "heads: found 5, expected a divisor of .* = 24"),
        (unet.build, 32, {"stages": 2, "kernels": (5, 3)}, r"kernels: found 2 of them, \(5, 3\), expected at least"),
        (unet.build, 32, {"stages": 2, "kernels": (5, 4, 3)}, "kernels: found 4 in .* odd"),
        (unet.build, 32, {"stages": 2, "kernels": (5, 3.0, 3)}, "kernels: found 3.0 in .* odd"),
        (unet.build, 8, {"stages": 1}, "kernels: found 11 at a depth of 8 x 8"),
        (unet.build, 16, {"stages": 3, "kernels": (3, 3, 3, 5)}, "kernels: found 5 at a depth of 4 x 4"),
        (unet.build, 16, {"stages": 4}, "kernels: found 5 at a depth of 4 x 4"),
        (unet.build, 32, {"width": 0}, "width: found 0, expected an integer of at least 1"),
        (unet.build, 32, {"stages": 0}, "stages: found 0"),
        (unet.build, 32, {"blocks": True}, "blocks: found True"),
        (vit.build, 30, {}, "patch: found 4, expected a divisor of size = 30"),
        (vit.build, 32, {"width": 60}, "heads: found 8, expected a divisor of width = 60"),
        (vit.build, 32, {"depth": 0}, "depth: found 0"),
        (vit.build, 32, {"mlp_ratio": 1.5}, "mlp_ratio: found 1.5"),
    ],
)
def test_options_that_cannot_be_built_are_named(build, size, options, named):
    with pytest.raises(ValueError, match=named):
        build(4, size, **options)


@pytest.mark.parametrize("padding", [(0, 0), (1, 0), (0, 2), (3, 3), (5, 5)])
def test_padding_wraps_both_axes(padding):
    x = states(2, 3, 5, 5)
    expected = F.pad(x, (*padding, *padding), mode="circular")
    assert torch.equal(pad(x, *padding), expected)


def test_circular_convolution_multiplies_fourier_modes():
    layer = Conv(1, 1, 5).double()
    x = states(1, 1, 12, 12)
    kernel = torch.zeros(12, 12, dtype=torch.float64)
    kernel[:5, :5] = layer.weight.detach()[0, 0]
    symbol = torch.fft.fft2(kernel.roll((-2, -2), (0, 1))).conj()
    expected = torch.fft.ifft2(torch.fft.fft2(x) * symbol).real
    torch.testing.assert_close(layer(x).detach(), expected)


def test_normalisations_give_unit_root_mean_square():
    x = 7 * states(2, 3, 8, 8)
    torch.testing.assert_close(SpatialNorm(3).double()(x).square().mean((-2, -1)), torch.ones(2, 3).double())
    torch.testing.assert_close(RMSNorm(8).double()(x).square().mean(-1), torch.ones(2, 3, 8).double())


def test_attention_is_the_scaled_dot_product():
    layer = Attention(8, 2).double()
    x = states(2, 5, 8)
    query, key, value = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in layer.project_in(x).chunk(3, -1))
    expected = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(-2)
    torch.testing.assert_close(layer(x), layer.project_out(expected))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_and_cpu_agree(small):
    model, parameters, x = small
    along = direction(parameters, seed=20)

    def tangents(parameters, along, x):
        return vmap(lambda t: jvp(lambda p: predict(model)(p, x), (parameters,), (t,)))(along)

    def move(tensors, device):
        return {name: value.to(device) for name, value in tensors.items()}

    stacked = {name: torch.stack([value, -value]) for name, value in along.items()}
    cpu = tangents(parameters, stacked, x)
    gpu = tangents(move(parameters, "cuda"), move(stacked, "cuda"), x.cuda())
    for expected, found in zip(cpu, gpu, strict=True):
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-9, atol=1e-9)
