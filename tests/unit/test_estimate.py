"""What an estimate counts, with measured numbers put in place of this machine's."""

from pathlib import Path

import pytest

from surroscope.errors import UserError
from surroscope.tools.estimate import planned
from surroscope.tools.schedule import Job, Work, schedule
from surroscope.tools.verify import configured
from surroscope.tools.workload import FIXED, GRADIENT, TANGENT, Model, Network

ROOT = Path(__file__).parents[2]
VIT = {"system": "NS", "model": "vit", "seed": "10"}
P, OPERATIONS = 1000, 5.0
# Of the tiny study: 4 training, 2 validation and 2 test trajectories a class, 2 classes, 2 channels of 8 x 8.
STATE = 4 * 2 * 8 * 8


def job(rule: str, *needs: int, **wildcards: str) -> Job:
    return Job(rule, wildcards, 1, 100, 60, needs)


@pytest.fixture
def model() -> Model:
    made = Model(configured(ROOT / "tests/workflow/tiny.yaml"))
    made.byte, made.product = 0.0, 0.0
    made.start = lambda stage: 1.0  # type: ignore[method-assign]
    made.trajectory = lambda ic: 2.0  # type: ignore[method-assign]
    made.network = lambda system, model: Network(0.01, 0.04, OPERATIONS, P)  # type: ignore[method-assign]
    return made


def test_jobs_are_counted_in_trajectories_steps_and_passes(model: Model) -> None:
    block = model.work(job("simulate", system="NS", ic="NS-BB", block="1"))
    assert block == Work(1 + 2 * 2.0, 0.0, "raw", 2 * 5 * STATE)
    train = model.work(job("train", **VIT))
    assert train.seconds == pytest.approx(1 + 60 * (24 * 0.04 + 12 * 0.01))
    assert train.operations == 60 * (3 * 24 + 12) * OPERATIONS
    # Of 2 classes and 2 probes: 10 steps of rollouts from all starts, 4 of one more, and of 3 at each of 8 images.
    evaluate = model.work(job("evaluate", **VIT, epoch="60"))
    assert evaluate.operations == 4 * (10 + 4 + 3 * 8) * OPERATIONS
    assert model.work(job("figures_NS", system="NS")) == Work(1 + FIXED["figures"])
    assert model.work(job("all")) == Work(0.0)


def test_gradients_are_counted_by_responses_and_span(model: Model) -> None:
    # One batch of 6 transitions; the cost is the only observable that responds.
    found = model.work(job("gradients", **VIT, epoch="60", shard="0"))
    once = GRADIENT * 6 * 0.04 + TANGENT * 36 * 0.01
    assert found.seconds == pytest.approx(1 + FIXED["gradients"] + once + 0.1)
    assert found.operations == (3 * 6 + 2 * 36) * OPERATIONS
    assert (found.kind, found.size) == ("shards", 6 * P * 4 + 36 * STATE + 2 * 6 * STATE)
    assert model.work(job("reduce", **VIT, epoch="60")).size == 2 * 8 * (2 * 36 + 36 + 2 * 216)


def test_time_is_bound_by_cores_and_by_the_longest_chain() -> None:
    jobs = [job("a"), job("b", 0), job("a"), job("a"), job("all", 1, 2, 3)]
    works = [Work(3.0), Work(3.0), Work(2.0), Work(2.0), Work(0.0)]
    assert [schedule(jobs, works, cores)[0] for cores in (1, 2, 8)] == [10, 6, 6]


def test_shards_are_there_until_they_are_reduced() -> None:
    jobs = [job("gradients"), job("reduce", 0), job("gradients"), job("reduce", 2)]
    works = [Work(1.0, kind="shards", size=5), Work(1.0), Work(1.0, kind="shards", size=5), Work(1.0)]
    assert schedule(jobs, works, 1) == (4, 5)
    assert schedule(jobs, works, 2) == (2, 10)


def test_what_cannot_be_planned_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"config\.yaml: Snakemake cannot plan this study: [^\n]+$"):
        planned(ROOT / "config.yaml")
