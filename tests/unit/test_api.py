"""Influence and metric of any network in memory, against dense float64 algebra; the code of the documentation runs."""

import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import CASES, OBSERVABLES, Problem, problem, relative
from scipy.sparse.linalg import eigsh
from test_linearize import ReverseOnly
from torch import nn

import surroscope
from surroscope.errors import UserError
from surroscope.plots.style import Options

ROOT = Path(__file__).parents[2]
DAMPING = 1e-3
NAMES = sorted(CASES)


def in_span(p: Problem, responses: torch.Tensor, perturbations: torch.Tensor) -> np.ndarray:
    """H[j, i] by its definition: the metric restricted to an orthonormal basis of the perturbations' gradients."""
    u, s, _ = np.linalg.svd(perturbations.numpy().T, full_matrices=False)
    q = u[:, s > 1e-10 * s[0]]
    eta = q.T @ p.eta @ q + DAMPING * np.eye(q.shape[1])
    return (responses.numpy() @ q) @ np.linalg.solve(eta, q.T @ perturbations.numpy().T)


@pytest.mark.parametrize("name", NAMES)
def test_influence_in_the_span_is_that_of_dense_algebra(name: str) -> None:
    p, options = problem(name), {"damping": DAMPING, "discarded_share": 0.0}
    g, mass = p.rows("smse"), p.rows("mass")
    h = surroscope.influence_matrix(p.linear.network, p.x, p.y, **options)
    assert h.dims == ("response", "perturbation")
    assert relative(h.values, in_span(p, g, g)) < 1e-6
    h = surroscope.influence_matrix(p.linear.network, p.x, p.y, observable=OBSERVABLES["mass"], **options)
    assert relative(h.values, in_span(p, mass, g)) < 1e-6
    few = surroscope.influence_matrix(
        p.linear.network, p.x[:3], p.y[:3], response_states=p.x.numpy(), response_targets=p.y.numpy(), **options
    )
    assert few.shape == (len(p.x), 3)
    alone = Problem(p.linear.network, p.x[:3], p.y[:3])
    assert relative(few.values, in_span(alone, g, g[:3])) < 1e-6


@pytest.mark.parametrize("solver", ["full", "dense", "cosine"])
@pytest.mark.parametrize("name", ["convolution", "shared weights", "ViT"])
def test_other_solvers_are_those_of_dense_algebra(name: str, solver: str) -> None:
    p = problem(name)
    rows = p.rows("smse", "mass")
    n, norms = len(p.x), rows.norm(dim=1).numpy()
    cosine = (rows @ rows.T).numpy() / np.outer(norms, norms)
    expected = (cosine[:, :n] if solver == "cosine" else p.influence(rows, n, DAMPING))[n:]
    options = {"solver": solver, "damping": DAMPING, "tolerance": 1e-8, "max_iterations": 60}
    h = surroscope.influence_matrix(p.single.network, p.x, p.y, observable=OBSERVABLES["mass"], **options)
    assert relative(h.values, expected) < 1e-5
    assert ("damping" in h.attrs) == (solver != "cosine")


def test_a_full_solution_that_did_not_converge_is_refused() -> None:
    p = problem("ViT")
    with pytest.raises(UserError, match=r"did not converge within 1 iterations.*Raise max_iterations"):
        surroscope.influence_matrix(p.linear.network, p.x, p.y, solver="full", tolerance=1e-9, max_iterations=1)


@pytest.mark.parametrize("name", NAMES)
def test_the_metric_is_an_operator_that_scipy_takes(name: str) -> None:
    p = problem(name)
    eta = surroscope.metric(p.linear.network, p.x)
    v = torch.randn(p.linear.size, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert relative((eta @ v).numpy(), p.eta @ v.numpy()) < 1e-10
    assert relative((eta @ v[:, 0]).numpy(), p.eta @ v[:, 0].numpy()) < 1e-10
    largest = eigsh(eta.to_scipy(), k=3, return_eigenvectors=False)
    assert np.allclose(np.sort(largest), np.linalg.eigvalsh(p.eta)[-3:], rtol=1e-8)
    with pytest.raises(UserError, match=r"shape \(2,\); expected"):
        eta @ v[:2, 0]


def test_the_network_stays_as_it_is_and_single_precision_is_enough() -> None:
    p = problem("UNet")
    network = p.single.network.train()
    before = [parameter.clone() for parameter in network.parameters()]
    h = surroscope.influence_matrix(network, p.x, p.y, damping=DAMPING)
    assert network.training
    network.eval()
    assert all(torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True))
    exact = surroscope.influence_matrix(p.linear.network, p.x, p.y, damping=DAMPING)
    assert relative(h.values, exact.values) < 1e-3


def test_a_layer_without_forward_mode_is_differentiated_twice_in_reverse() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)]
    p = problem("convolution")
    exact = Problem(nn.Sequential(layers[0], Cube(), layers[1]).double(), p.x, p.y)
    h = surroscope.influence_matrix(
        nn.Sequential(layers[0], ReverseOnly(), layers[1]), p.x, p.y, damping=DAMPING, discarded_share=0.0
    )
    assert relative(h.values, in_span(exact, exact.rows("smse"), exact.rows("smse"))) < 1e-6


class Cube(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x**3


def test_labels_become_coordinates() -> None:
    p = problem("convolution")
    kinds = {"class": ["a", "a", "b", "b", "b"], "time": [0, 1, 0, 1, 2]}
    h = surroscope.influence_matrix(p.linear.network, p.x, p.y, labels=kinds)
    assert list(h["response_class"].values) == kinds["class"]
    assert list(h["perturbation_time"].values) == kinds["time"]
    assert h.where(h["response_class"] == h["perturbation_class"], drop=True).shape == (5, 5)
    few = surroscope.influence_matrix(
        p.linear.network, p.x, p.y, labels=list("abcde"), response_states=p.x[:2], response_targets=p.y[:2]
    )
    assert list(few["perturbation"].values) == list("abcde")
    assert "response" not in few.coords


X = torch.ones(3, 4, 4, 4)
NAN = X.clone()
NAN[1] = torch.nan


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"states": X[0]}, r"states has shape \(4, 4, 4\); expected \(samples, fields, rows, columns\)"),
        ({"targets": X[:2]}, r"targets has shape \(2, 4, 4, 4\); expected \(3, 4, 4, 4\)"),
        ({"states": NAN}, "states is not finite in sample 1"),
        ({"states": X[:, :3], "targets": X[:, :3]}, r"the network fails on states of shape \(3, 3, 4, 4\)"),
        ({"network": nn.Flatten()}, "no trainable parameter"),
        ({"network": nn.Conv2d(4, 4, 3)}, r"maps \(3, 4, 4, 4\) to \(3, 4, 2, 2\)"),
        ({"solver": "adam"}, "solver is 'adam'; choose from span, full, euclidean, cosine"),
        ({"solver": "best"}, "solver is 'best'"),
        ({"observable": "mass"}, "observable is 'mass'; expected 'smse' or a function"),
        ({"cost": lambda prediction, target, state: prediction.mean()}, "cost gives .* each of the 3 samples"),
        ({"response_states": X}, "response_targets is missing"),
        ({"labels": ["a"]}, "labels: found 1, expected 3"),
        ({"damping": 0.0}, "damping is 0.0; expected a positive number"),
        ({"discarded_share": 1.0}, "discarded_share is 1.0; expected a number from 0 to below 1"),
        ({"network": nn.LazyConv2d(4, 1)}, "no parameters yet.*dummy batch"),
        ({"network": nn.Conv2d(4, 4, 1).bfloat16()}, r"parameters of torch\.bfloat16; give network\.float\(\)"),
        ({"cost": lambda prediction, target, state: state.mean((1, 2, 3))}, "every gradient of the batch is zero"),
    ],
)
def test_what_does_not_fit_is_said(changes: dict, words: str) -> None:
    torch.manual_seed(0)
    given = {"network": nn.Conv2d(4, 4, 3, padding=1), "states": X, "targets": X} | changes
    with pytest.raises(UserError, match=words):
        surroscope.influence_matrix(**given)


def test_a_network_whose_samples_interact_is_refused() -> None:
    class Interacting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x - x.mean(0))

    p = problem("convolution")
    alike = torch.cat([p.x[:1], p.x])
    for call in (
        lambda n: surroscope.influence_matrix(n, p.x, p.y),
        lambda n: surroscope.influence_matrix(n, alike, alike.flip(0)),
        lambda n: surroscope.metric(n, p.x),
    ):
        with pytest.raises(UserError, match=r"changes by .* with the other states of the batch"):
            call(Interacting())


def blocks(path: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / path).read_text(), flags=re.S)


def test_the_code_of_the_readme_prints_what_stands_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("README.md", "python")
    (printed,) = blocks("README.md", "text")
    exec(code, {})
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == printed.splitlines()


def test_the_code_of_the_api_runs(capsys: pytest.CaptureFixture[str]) -> None:
    memory = [code for code in blocks("docs/api.md", "python") if "results/" not in code]
    names: dict = {}
    for code in memory:
        exec(code, names)
    assert len(memory) == 4
    printed = capsys.readouterr().out
    for words in (
        "within a class",
        "(response_class: 2, perturbation_class: 2)",
        "(response: 6, perturbation: 6)",
        "stiffest",
    ):
        assert words in printed


def test_every_option_of_a_figure_is_documented() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/api.md").read_text(), flags=re.M))
    assert {field.name for field in fields(Options)} - {"dpi"} <= rows


class Keeping(nn.Module):
    """Keeps what it computed last, as of attention maps and positions, with the graph that led to it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.last = inner, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = self.inner(x)
        return self.last


def test_a_network_that_keeps_its_last_prediction_is_the_network_without() -> None:
    p = problem("convolution")
    keeping = Keeping(p.single.network)
    keeping(p.x.float()).sum().backward()
    expected = surroscope.influence_matrix(p.single.network, p.x, p.y)
    np.testing.assert_array_equal(surroscope.influence_matrix(keeping, p.x, p.y), expected)
    assert keeping.last.requires_grad
