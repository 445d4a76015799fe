"""The networks of a study: made by a factory, trained here or elsewhere, and how they are called."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator, model_validator

from surroscope.config.base import Count, ImportPath, Natural, NonNegative, Positive, Section, plain
from surroscope.config.weights import EPOCH, Weights, files


class Factory(Section):
    """Something made by a function given by import path."""

    factory: ImportPath
    options: Annotated[dict[str, Any], AfterValidator(plain)] = {}

    def within(self) -> list["Factory"]:
        """The factories that its options name: of a network within a network."""
        named = self.options.get("factory")
        if not isinstance(named, str) or ":" not in named:
            return []
        try:
            inner = Factory(factory=named, options=self.options.get("options", {}))
        except ValidationError:  # something else of that name
            return []
        return [inner, *inner.within()]

    @property
    def module(self) -> str:
        """The module of the factory's import path."""
        return self.factory.partition(":")[0]


class Training(Section):
    """budget: in forwards of one sample, a backward counting two; the epochs spend it in equal parts"""

    epochs: Count
    budget: Positive | None = None
    strategy: Factory | None = None
    learning_rate: Positive = 5e-4
    weight_decay: NonNegative = 1e-4
    batch: Count = 48
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    clip: Positive | None = None
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    average: Annotated[float, Field(gt=0, lt=1)] | None = None


# What is done to the weights; the rest of `Training` says on what, and for how long.
RECIPE = sorted(set(Training.model_fields) - {"epochs", "strategy"})


def _axes(axes: str) -> str:
    # Letters may stand together, "bcyx"; brackets make one axis of t and c.
    tokens = [re.findall(r"\w", token) for token in re.findall(r"\([^)]*\)|[^\s()]", axes)]
    names = sorted(name for token in tokens for name in token)
    joined = [sorted(token) for token in tokens if len(token) > 1]
    if names not in (sorted("bcyx"), sorted("btcyx")) or joined not in ([], [["c", "t"]]):
        raise ValueError("expected b, c, y, x in any order, and t where it is, as in 'b t c y x' or 'b (t c) y x'")
    return " ".join(f"({' '.join(token)})" if len(token) > 1 else token[0] for token in tokens)


Axes = Annotated[str, AfterValidator(_axes)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Numbers = Annotated[list[Finite], Field(min_length=1)]


class Call(Section):
    """How a network is called that does not map states (B, F, Y, X) to the next ones, as `models.calling.Called`."""

    history: Count = 1
    axes: Axes | None = None
    output_axes: Axes | None = None
    output: str | int | None = None
    output_time: int | None = None
    predicts: Literal["state", "delta"] = "state"
    mean: Numbers | None = None
    std: Numbers | None = None
    output_mean: Numbers | None = None
    output_std: Numbers | None = None
    normalize: Literal["data"] | None = None
    lead: dict[str, Annotated[float, Field(allow_inf_nan=False, gt=0)]] | None = None
    arguments: Annotated[dict[str, Any], AfterValidator(plain)] = {}

    @field_validator("std", "output_std")
    @classmethod
    def _of_what_varies(cls, std: list[float]) -> list[float]:
        if std and not min(std) > 0:
            raise ValueError("one is not positive; a channel that does not vary has 1")
        return std

    @model_validator(mode="after")
    def _fits_together(self) -> "Call":
        if self.history > 1 and self.axes and "t" not in self.axes:
            raise ValueError(f"history is {self.history}, but axes {self.axes!r} has no t; say where the snapshots go")
        if twice := set(self.lead or ()) & set(self.arguments):
            raise ValueError(f"lead and arguments both hold {min(twice)}; leave one out")
        told = [name for name in ("mean", "std", "output_mean", "output_std") if getattr(self, name)]
        if self.normalize and told:
            raise ValueError(f"normalize goes without {', '.join(told)}; leave the one or the other out")
        if self.output_time is not None and self.output_axes and "t" not in self.output_axes:
            raise ValueError(f"output_time is {self.output_time}, but output_axes {self.output_axes!r} has no t")
        return self


class Model(Factory):
    """Trained here, by `training`, or elsewhere, to `weights`; label: what figures and the report call it."""

    label: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[^\n$]+$")] | None = None
    training: Training | None = None
    weights: Annotated[Weights, BeforeValidator(files, str | Weights)] | None = None
    call: Call | None = None
    # Of weights, where it is left out, all that there are.
    probe_epochs: Annotated[list[Natural], Field(min_length=1)] = []
    shares: dict[Literal["class", "time"], Annotated[float, Field(ge=0, le=1, strict=False)]] | None = None

    @model_validator(mode="before")
    @classmethod
    def _all_epochs_there_are(cls, model: Any) -> Any:
        """Of weights, unless some are chosen."""
        if not isinstance(model, dict) or "weights" not in model or "probe_epochs" in model:
            return model
        try:
            found = sorted(Weights.model_validate(files(model["weights"])).found())
        except ValidationError:  # which the field itself says
            found = []
        return model | {"probe_epochs": found or [EPOCH]}

    @property
    def made_with(self) -> dict[str, Any]:
        """The options that are said, else those that were saved with the weights."""
        return self.options or (self.weights.options() if self.weights else {})

    @model_validator(mode="after")
    def _probed_epochs_are_trained(self) -> "Model":
        if (self.training is None) == (self.weights is None):
            raise ValueError("expected training, to train it here, or weights, of one that is trained: one of the two")
        if not self.probe_epochs:
            raise ValueError("probe_epochs is missing; list the epochs to look at, such as the last")
        if self.training and max(self.probe_epochs) > self.training.epochs:
            raise ValueError(
                f"probe_epochs holds {max(self.probe_epochs)}, but training.epochs is {self.training.epochs}; "
                "raise the one or drop the other"
            )
        if self.probe_epochs != sorted(set(self.probe_epochs)):
            raise ValueError(f"probe_epochs is {self.probe_epochs}; list each epoch once, in increasing order")
        return self
