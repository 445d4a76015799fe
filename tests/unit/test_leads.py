"""A network that is told how far to predict: influence between starts and lead times, beside dense algebra."""

from typing import Any

import numpy as np
import pytest
import torch
from response_study import CHANNELS, CLASSES, SIZE, SNAPSHOTS, Study, retrained
from tests.unit.cases import jacobian, relative
from torch import Tensor, nn

from surroscope.config import jobs
from surroscope.cost_function import smse
from surroscope.data import transitions
from surroscope.influence.linearize import Linearization
from surroscope.models import context, surrogate
from surroscope.runtime import store
from surroscope.stages import leads
from surroscope.tables import leads as tables

STEPS = [1, 2]
DAMPING = 1e-3


class Ahead(nn.Module):
    """A step of a convolution whose size grows with the lead time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, 4, 3, padding=1), nn.Conv2d(4, channels, 3, padding=1)

    def forward(self, states: Tensor, ahead: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(states) * (1 + ahead[:, None, None, None]))
        return states + 0.1 * self.second(hidden)


MODEL: dict[str, Any] = {"factory": f"{__name__}:Ahead", "options": {}, "call": {"lead": {"ahead": 0.5}}}


@pytest.fixture(scope="module")
def told(study: Study) -> Study:
    return retrained(study, "ahead", **MODEL)


def test_influence_between_leads_equals_the_dense_one(told: Study) -> None:
    """The oracle takes the samples from the trajectories by hand, and the metric from the dense Jacobian."""
    settings = told.common | MODEL | {"responses": [{"observable": "smse", "step": "smse"}]}
    rules = {"discarded_share": 0.0, "damping": DAMPING, "damping_scale": "absolute"}
    path = told.folder / "ahead_leads.zarr"
    leads.stage(jobs.Leads(**settings | rules, probes=[0], steps=STEPS), **told.inputs, leads=path)
    found = store.read(path).load()
    (probe,) = transitions.probes(told.stores, told.split, [("test", 0)], SNAPSHOTS)
    starts = range(SNAPSHOTS - max(STEPS))
    order = [(c, t, lead) for c in range(len(CLASSES)) for t in starts for lead in STEPS]
    x, y = (
        torch.from_numpy(np.stack([probe.states[c, t + lead * after] for c, t, lead in order])).double()
        for after in (0, 1)
    )
    network = surrogate.build(**MODEL, shape=(CHANNELS, SIZE, SIZE), seed=1)
    surrogate.load_weights(network, told.weights, 2)
    linear = Linearization(network.double())
    ahead = torch.tensor([float(lead) for _, _, lead in order])
    contexts = context.of(network, x[:, None], lead=ahead)
    expected = surrogate.inner(network)(x, 0.5 * ahead.double())
    torch.testing.assert_close(network(contexts), expected)
    g, j = linear.gradients(smse, contexts, y).numpy(), jacobian(linear, contexts)
    basis = np.linalg.svd(g, full_matrices=False)[2]
    metric, along = basis @ (j.T @ j / len(j)) @ basis.T, g @ basis.T
    h = along @ np.linalg.solve(metric + DAMPING * np.eye(len(metric)), along.T)
    shape = (len(CLASSES), len(starts), len(STEPS))
    assert found["influence"].shape == (1, *shape, *shape)
    assert relative(found["influence"].values.reshape(h.shape), h) < 1e-3
    errors = smse(expected, y, y).detach().numpy().reshape(shape)
    np.testing.assert_allclose(found["error"].values[0], errors, rtol=1e-4)
    np.testing.assert_allclose(found["persistence"].values[0], smse(x, y, y).numpy().reshape(shape), rtol=1e-4)

    of_model = tables.of_model([found])
    own = np.sqrt(np.diag(h))
    cosine = (h / np.outer(own, own)).reshape(*shape, *shape)
    row = of_model["leads"].set_index(["response_lead", "response_time", "perturbation_lead", "perturbation_time"])
    expected_median = np.median([cosine[c, 1, 1, c, 0, 0] for c in range(len(CLASSES))])
    assert row.loc[(2, 1, 1, 0), "median"] == pytest.approx(expected_median, abs=1e-3)
    assert row["median"].max() == pytest.approx(1)
    told_errors = of_model["leads_error"].set_index(["kind", "lead"])["median"]
    assert told_errors["network", 2] == pytest.approx(np.median(errors[..., 1]), rel=1e-4)
