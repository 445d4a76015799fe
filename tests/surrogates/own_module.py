"""What a user writes where a configuration is not enough: networks as functions of states, of parts of packages.

The test's project has a copy of it beside its configuration.
"""

from functools import partial
from typing import Any

from torch import Tensor, nn


class Vit(nn.Module):
    """timm's vision transformer classifies; here each token gives back the cells that it was made of."""

    def __init__(self, channels: int, size: int, patch: int, **options: Any) -> None:
        from timm.models.vision_transformer import VisionTransformer

        super().__init__()
        self.size, self.patch = size, patch
        self.vit = VisionTransformer(
            img_size=size, patch_size=patch, in_chans=channels, num_classes=0, global_pool="", **options
        )
        self.head = nn.Linear(self.vit.embed_dim, channels * patch**2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.head(self.vit.forward_features(x)[:, self.vit.num_prefix_tokens :])
        return nn.functional.fold(tokens.mT, (self.size, self.size), self.patch, stride=self.patch)


def pde_transformer(**options: Any) -> nn.Module:
    """pdetransformer's PDE-Transformer has three sizes by name, the least of 33 million parameters; here a fourth."""
    from pdetransformer.core.mixed_channels import pde_transformer as module

    impl = partial(module.PDEImpl, down_factor=2, hidden_size=8, depth=[1, 1, 1], num_heads=2, mlp_ratio=2)
    module.PDE_models["tiny"] = impl
    return module.PDETransformer(**options)
