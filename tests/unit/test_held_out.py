"""What was held out: the configuration, and errors there beside those where the network was trained."""

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from arms import SHAPE, UNET
from default_study import DEFAULT

from surroscope.config.jobs import JOBS
from surroscope.config.study import check
from surroscope.errors import UserError
from surroscope.models import surrogate
from surroscope.stages.train import normalised
from surroscope.tables import held_out

CLASSES = ["CE-RP", "CE-CRP", "CE-RPUI"]


def study(held: Any, **more: Any) -> Any:
    config = copy.deepcopy(DEFAULT) | {"cross": None, "maps": None} | more
    config["split"] = {"held_out": held}
    return check({key: value for key, value in config.items() if value is not None}, "config.yaml")


def test_what_is_held_out_reaches_training_and_tables() -> None:
    chosen = study({"classes": ["CE-RP"], "times": [12, 15]})
    expected = [("CE-RP", 0, 15), ("CE-CRP", 12, 15), ("CE-RPUI", 12, 15)]
    assert JOBS["train"].of(chosen, system="CE", model="unet", seed="10").without == expected
    assert JOBS["tables"].of(chosen, system="CE").without == expected
    assert "held_out" in chosen.parts("CE")
    assert "held_out" not in check(DEFAULT, "config.yaml").parts("CE")


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({}, "holds nothing out"),
        ({"classes": ["CE-R"]}, "CE-R"),
        ({"classes": CLASSES}, r"holds every class of CE; leave one"),
        ({"times": [3]}, "times"),
        ({"times": [5, 3]}, r"expected \[first, last\]"),
        ({"times": [0, 15]}, "hold out some of them"),
        ({"times": [4, 16]}, "start from times 0 to 15"),
    ],
)
def test_mistakes_are_told(held: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        study(held)


def test_training_trajectories_are_not_asked_about_where_some_were_left_out() -> None:
    with pytest.raises(UserError, match=r"cross is about trajectories that were trained on"):
        study({"classes": ["CE-RP"]}, cross=DEFAULT["cross"])


def test_what_is_held_out_does_not_set_the_scale_of_what_a_network_is_given() -> None:
    states = torch.rand(6, 5, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    means = []
    for shift in (0.0, 100.0):
        train = states.clone()
        train[:2] += shift  # the first of three classes
        factory, options = UNET
        network = surrogate.build(factory, options, shape=SHAPE, seed=1, call={"normalize": "data"})
        normalised(network, train, 3, [(0, 0, 3), (1, 3, 3)])
        means.append({name: network.get_buffer(name).clone() for name in surrogate.scales(network)})
    assert means[0]
    for name, tensor in means[0].items():
        assert torch.equal(tensor, means[1][name]), name
    kept = torch.cat([states[2:4, :4].flatten(0, 1), states[4:].flatten(0, 1)])
    assert any(
        torch.allclose(t.flatten(), kept.mean((0, 2, 3)), rtol=1e-5) for t in means[0].values() if t.numel() == 4
    )


def measured(relative: np.ndarray, signed: np.ndarray) -> Any:
    """Units of errors (C, T), the same in all, and of influence between classes (C, C)."""
    c, t = relative.shape
    error, idle = (np.full((4, c, t + 2, t + 3), np.nan) for _ in range(2))
    starts = np.arange(t)
    error[:, :, starts, starts + 1], idle[:, :, starts, starts + 1] = 2 * relative, 2.0
    h = np.broadcast_to(signed[:, None, :, None], (4, c, t, c, t)).copy()
    return SimpleNamespace(error=error, persistence=idle, standardised=h, first=0, seeds=np.array([1, 1, 2, 2]))


def test_errors_are_told_where_it_was_trained_and_where_it_was_not() -> None:
    relative = np.array([[0.9] * 4, [0.2, 0.2, 0.4, 0.4], [0.2, 0.2, 0.4, 0.4]])
    signed = np.array([[2.0, 0.2, 0.6], [0.2, 1.0, 0.5], [0.6, 0.5, 1.0]])
    m = measured(relative, signed)
    kernel = np.array([[1.0, 0.1, 0.3], [0.5, 1.0, 0.9], [0.7, 0.9, 1.0]])
    c: Any = SimpleNamespace(
        explained_class=np.broadcast_to(kernel, (4, 1, 3, 3)), between_inputs=lambda _: m.standardised
    )
    without = [("CE-RP", 0, 3), ("CE-CRP", 2, 3), ("CE-RPUI", 2, 3)]
    table = held_out.of_model(m, c, CLASSES, without).set_index("what")
    assert table["median"].to_dict() == pytest.approx(
        {"trained on": 0.2, "CE-RP": 0.9, "CE-CRP, times": 0.4, "CE-RPUI, times": 0.4}
    )
    row = table.loc["CE-RP"]
    assert row["kernel_transfer"] == pytest.approx(np.median([0.3, 0.5]))
    both = [(0.2 / 2 + 0.2) / 2, (0.6 / 2 + 0.6) / 2]
    assert row["signed_transfer"] == pytest.approx(np.median(both))
    assert table["kernel_transfer"].isna().tolist() == [True, False, True, True]
    told = held_out.told(m, CLASSES, without)
    assert told[0].replace("\N{NO-BREAK SPACE}", " ") == (
        "Held out: CE-RP was not trained on; one step errs by 90 % of no change there, by 20 % where it was trained."
    )
    assert len(told) == 3
