"""Networks of packages that people use: made, trained and saved by the habits of the package, and what has to be said.

A case is there where its package is installed in the version that it names.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from surroscope.importing import imported
from surroscope.models import surrogate

FIELDS, SIZE, STEPS, BATCH = 2, 8, 400, 16
SHAPE = (FIELDS, SIZE, SIZE)
SPECTRAL = {"n_modes": [4, 4], "in_channels": FIELDS, "out_channels": FIELDS, "hidden_channels": 8, "n_layers": 2}
WELL = {"dim_in": 4 * FIELDS, "dim_out": FIELDS, "n_spatial_dims": 2, "spatial_resolution": [SIZE, SIZE]}
# (network, what it is given, (n, T F, Y, X), what it is to give, (n, F, Y, X), folder) -> what is said in `weights`
Trainer = Callable[[nn.Module, Tensor, Tensor, Path], Path]


@dataclass(frozen=True)
class Case:
    """package: with the version; train: trains a network on normalised states and saves it, by its package's ways

    call: as in the configuration, but for the statistics of states
    """

    package: str
    factory: str
    options: dict[str, Any]
    train: Trainer
    call: dict[str, Any] = field(default_factory=dict)

    def made(self) -> nn.Module:
        return surrogate.with_options(imported(self.factory, "factory"))(**self.options)

    @property
    def history(self) -> int:
        return self.call.get("history", 1)

    @property
    def delta(self) -> bool:
        return self.call.get("predicts") == "delta"


def predicted(network: nn.Module, given: Tensor, call: dict[str, Any]) -> Tensor:
    """What a network says of normalised snapshots, called as its package calls it."""
    named = call.get("arguments", {}) | call.get("lead", {})
    found = network(given, **{name: torch.full((len(given),), value) for name, value in named.items()})
    return getattr(found, call["output"]) if "output" in call else found


def fitted(network: nn.Module, given: Tensor, wanted: Tensor, **call: Any) -> nn.Module:
    """Trained as most are: AdamW, a cosine of rates, batches drawn at random, mean squared errors."""
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    network.train()
    for _ in range(STEPS):
        some = torch.randint(len(given), (BATCH,))
        optimizer.zero_grad()
        (predicted(network, given[some], call) - wanted[some]).square().mean().backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def neuralop_trainer(network: Any, given: Tensor, wanted: Tensor, folder: Path) -> Path:
    """neuraloperator's own trainer, which saves the states of its optimiser and schedule beside the network's."""
    from neuralop import LpLoss, Trainer
    from neuralop.training import AdamW

    pairs = [{"x": x, "y": y} for x, y in zip(given, wanted, strict=True)]
    loader = DataLoader(pairs, batch_size=BATCH, shuffle=True)
    optimizer = AdamW(network.parameters(), lr=5e-3)
    epochs = STEPS // len(loader)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    loss = LpLoss(d=2, p=2)
    trainer = Trainer(model=network, n_epochs=epochs)
    trainer.train(loader, {}, optimizer, schedule, training_loss=loss, save_every=epochs - 1, save_dir=folder)
    return folder / "model_state_dict.pt"


def neuralop_model(network: Any, given: Tensor, wanted: Tensor, folder: Path) -> Path:
    fitted(network, given, wanted).save_checkpoint(folder, "best")
    return folder / "best_state_dict.pt"


def lightning(network: nn.Module, given: Tensor, wanted: Tensor, folder: Path) -> Path:
    import lightning.pytorch as pl

    class Task(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"why": Path("an object that only code can read")})
            self.model = network

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            return (self.model(batch[0]) - batch[1]).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 2e-3)

    loader = DataLoader(list(zip(given, wanted, strict=True)), batch_size=BATCH, shuffle=True)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_steps=STEPS, accelerator="cpu", default_root_dir=folder, **quiet)
    trainer.fit(Task(), loader)
    trainer.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt"


def pretrained(**call: Any) -> Trainer:
    """Saved as a folder with config.json."""

    def train(network: Any, given: Tensor, wanted: Tensor, folder: Path) -> Path:
        fitted(network, given, wanted, **call).save_pretrained(folder)
        return folder

    return train


def well(network: nn.Module, given: Tensor, wanted: Tensor, folder: Path) -> Path:
    """The entries are those that the trainer of The Well writes, which needs its data sets to run."""
    fitted(network, given, wanted)
    optimizer = torch.optim.AdamW(network.parameters())
    entries = {"model_state_dict": network.state_dict(), "optimizer_state_dit": optimizer.state_dict()}
    folder.mkdir(parents=True)
    torch.save(entries | {"epoch": 1, "validation_loss": 0.1, "best_validation_loss": 0.1}, folder / "best.pt")
    return folder / "best.pt"


def calls(train: Callable[..., Trainer], **call: Any) -> dict[str, Any]:
    return {"train": train(**call), "call": call}


CASES = {
    "fno": Case("neuraloperator==2.0.0", "neuralop.models:FNO", SPECTRAL, neuralop_trainer),
    "tfno": Case("neuraloperator==2.0.0", "neuralop.models:TFNO", SPECTRAL | {"rank": 0.3}, neuralop_model),
    "uno": Case(
        "neuraloperator==2.0.0",
        "neuralop.models:UNO",
        {
            **{"in_channels": FIELDS, "out_channels": FIELDS, "hidden_channels": 8, "lifting_channels": 8},
            **{"projection_channels": 8, "n_layers": 3, "uno_out_channels": [8] * 3, "uno_n_modes": [[4, 4]] * 3},
            **{"uno_scalings": [[0.5, 0.5], [1.0, 1.0], [2.0, 2.0]], "channel_mlp_skip": "linear"},
        },
        neuralop_model,
        {"predicts": "delta"},
    ),
    "vit": Case(
        "timm==1.0.31",
        "own_module:Vit",
        {**{"channels": FIELDS, "size": SIZE, "patch": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}},
        lightning,
    ),
    "unet2d": Case(
        "diffusers==0.42.1",
        "diffusers:UNet2DModel",
        {
            **{"sample_size": SIZE, "in_channels": FIELDS, "out_channels": FIELDS, "layers_per_block": 1},
            **{"block_out_channels": [8, 8], "norm_num_groups": 4, "attention_head_dim": 4},
            "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
        },
        **calls(pretrained, output="sample", arguments={"timestep": 0}),
    ),
    "pde_transformer": Case(
        "pdetransformer==0.1.11",
        "own_module:pde_transformer",
        {
            **{"type": "tiny", "sample_size": SIZE, "in_channels": FIELDS, "out_channels": FIELDS, "patch_size": 2},
            "window_size": 2,
        },
        **calls(pretrained, output="sample", arguments={"class_labels": 3}),
    ),
    "scot": Case(
        "pdetransformer==0.1.11",
        "pdetransformer.core.mixed_channels.scot:ScOT",
        {
            **{"image_size": SIZE, "num_channels": FIELDS, "num_out_channels": FIELDS, "patch_size": 2, "embed_dim": 8},
            **{"depths": [1, 1], "num_heads": [1, 2], "skip_connections": [1, 0], "window_size": 2},
            **{"use_conditioning": True, "residual_model": "convnext", "learn_residual": True, "p": 1},
        },
        **calls(pretrained, output="output", lead={"time": 0.05}),
    ),
    "well_unet": Case(
        "the_well==1.2.0",
        "the_well.benchmark.models:UNetConvNext",
        WELL | {"stages": 2, "init_features": 4},
        well,
        {"history": 4, "predicts": "delta"},
    ),
    "well_fno": Case(
        "the_well==1.2.0",
        "the_well.benchmark.models:FNO",
        WELL | {"modes1": 4, "modes2": 4, "hidden_channels": 8},
        pretrained(),
        {"history": 4},
    ),
}


def installed() -> list[str]:
    found = {one.metadata["Name"]: one.version for one in metadata.distributions()}
    return [name for name, case in CASES.items() if case.package in {"==".join(one) for one in found.items()}]
