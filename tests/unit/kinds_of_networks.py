"""Small networks as people write them: every kind needs something of whoever differentiates it."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.nn.utils import parametrizations

FIELDS, SIZE = 2, 6


def mixing() -> nn.Module:
    return nn.Conv2d(FIELDS, FIELDS, 3, padding=1, padding_mode="circular")


class Around(nn.Module):
    """A convolution, then what is tested, on tokens (B, Y X, C) if asked, and a skip connection around it."""

    def __init__(self, block: nn.Module, width: int = 0) -> None:
        super().__init__()
        self.enter, self.block = mixing(), block
        self.up, self.down = (nn.Linear(FIELDS, width), nn.Linear(width, FIELDS)) if width else (None, None)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.enter(x))
        if self.up is None or self.down is None:
            return x + self.block(y)
        found = self.block(self.up(y.flatten(2).mT))
        found = found[0] if isinstance(found, tuple) else found
        return x + self.down(found).mT.reshape(x.shape)


class Spectral(nn.Module):
    """Complex weights on the lowest modes; in_place: written into two slices of zeros, as neural operators do."""

    def __init__(self, in_place: bool, modes: int = 2, fields: int = FIELDS) -> None:
        super().__init__()
        self.in_place, self.modes = in_place, modes
        self.weight = nn.Parameter(0.5 * torch.randn(2, fields, fields, modes, modes, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        m, spectrum = self.modes, torch.fft.rfft2(x)
        low, high = (
            torch.einsum("bcyx,cdyx->bdyx", part, weight)
            for part, weight in zip((spectrum[..., :m, :m], spectrum[..., -m:, :m]), self.weight, strict=True)
        )
        if self.in_place:
            out = torch.zeros(spectrum.shape, dtype=spectrum.dtype)
            out[..., :m, :m] = low
            out[..., -m:, :m] = high
        else:
            rows = torch.cat([low, torch.zeros_like(spectrum[..., m:-m, :m]), high], dim=-2)
            out = F.pad(rows, (0, spectrum.shape[-1] - m))
        return torch.fft.irfft2(out, s=x.shape[-2:])


class Patched(nn.Module):
    """Writes in place into copies and into new tensors of several makers."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(FIELDS))
        self.register_buffer("pattern", torch.randn(FIELDS, SIZE, SIZE))

    def forward(self, x: Tensor) -> Tensor:
        one, two, three = self.pattern.clone(), self.pattern.new_zeros(x.shape), torch.empty_like(self.pattern)
        one[0] = self.gain[0] * self.pattern[1]
        two[:, 1:] += self.gain[1] ** 2 * x[:, :1]
        three[:] = 1.0
        three[:, 0] *= self.gain[1]
        return x * one + two + three


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(4, 12)

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, 2)).transpose(1, 2) for part in self.qkv(tokens).chunk(3, dim=-1))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Grouped(nn.Module):
    """A group norm of what a layer with the channels last gives, which does not lie in one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm = nn.Linear(FIELDS, FIELDS), nn.GroupNorm(1, FIELDS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class ChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = mixing()

    def forward(self, x: Tensor) -> Tensor:
        y = x.to(memory_format=torch.channels_last)
        return self.inner(y).contiguous(memory_format=torch.channels_last) + y


class SelfAttention(nn.Module):
    def __init__(self, weights: bool) -> None:
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(4, 2, dropout=0.3, batch_first=True), weights

    def forward(self, tokens: Tensor) -> Tensor:
        return self.attention(tokens, tokens, tokens, need_weights=self.weights)[0]


class Recomputed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = nn.Sequential(mixing(), nn.Tanh(), nn.Dropout(0.5), mixing()), reentrant

    def forward(self, x: Tensor) -> Tensor:
        return torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=self.reentrant)


class Tied(nn.Module):
    """A complex parameter in two modules and a real one in two."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three, self.four = Spectral(True), Spectral(True), mixing(), mixing()
        self.two.weight, self.four.weight = self.one.weight, self.three.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.four(torch.tanh(self.three(self.two(torch.tanh(self.one(x))))))


class Doubled(nn.Module):
    """A layer of float64 in a network of float32."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = mixing().double()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.double()).to(x.dtype)


def normalised() -> nn.Module:
    layer = nn.BatchNorm2d(FIELDS)
    layer.running_mean.uniform_()
    layer.running_var.uniform_(0.5, 2)
    return nn.Sequential(layer, nn.Dropout2d(0.5), mixing())


def lazy() -> nn.Module:
    network = nn.Sequential(nn.LazyConv2d(FIELDS, 3, padding=1), nn.Tanh(), nn.LazyConv2d(FIELDS, 1))
    network(torch.zeros(1, FIELDS, SIZE, SIZE))
    return network


def inside_compiled() -> nn.Module:
    layer = mixing()
    layer.compile(backend="eager")
    return layer


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTM(4, 4, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.inner(tokens)[0]


def on_tokens(block: nn.Module) -> nn.Module:
    return Around(block, width=4)


def encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, 6, dropout=0.2, batch_first=True)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "complex parameters": lambda: Around(Spectral(False)),
    "written into slices": lambda: Around(Spectral(True)),
    "written into copies": lambda: Around(Patched()),
    "complex and tied": lambda: Around(Tied()),
    "scaled dot product attention": lambda: on_tokens(Heads()),
    "channels last in memory": lambda: Around(ChannelsLast()),
    "group norm": lambda: Around(Grouped()),
    "MultiheadAttention": lambda: on_tokens(SelfAttention(False)),
    "MultiheadAttention with weights": lambda: on_tokens(SelfAttention(True)),
    "TransformerEncoderLayer": lambda: on_tokens(encoder()),
    "TransformerEncoder": lambda: on_tokens(nn.TransformerEncoder(encoder(), 1)),
    "checkpoint": lambda: Around(Recomputed(False)),
    "checkpoint, re-entrant": lambda: Around(Recomputed(True)),
    "weight norm": lambda: Around(parametrizations.weight_norm(mixing())),
    "spectral norm": lambda: Around(parametrizations.spectral_norm(mixing())),
    "buffers and dropout": lambda: Around(normalised()),
    "lazy": lambda: Around(lazy()),
    "compiled": lambda: torch.compile(Around(mixing()), backend="eager"),
    "compiled inside": lambda: Around(inside_compiled()),
    "float64 inside": lambda: Around(Doubled()),
}
# Without forward mode in torch.
REVERSE_ONLY: dict[str, Callable[[], nn.Module]] = {"LSTM": lambda: on_tokens(Recurrent())}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = (NETWORKS | REVERSE_ONLY)[name]()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return network.eval()
