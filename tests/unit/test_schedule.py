"""How long jobs take by their schedule, what is left of them while they run, and the disk that they fill."""

from itertools import pairwise

import pytest
from default_study import ROOT

from surroscope.tools import price
from surroscope.tools.schedule import OVERRUN, PRIOR, Forecast, Job, Work, brief, disk, schedule
from surroscope.tools.verify import configured


def chain(*stages: str) -> list[Job]:
    """Jobs of these stages, each of which waits for the one before."""
    return [Job(stage, {}, 1, 0, 0, (number - 1,) * bool(number)) for number, stage in enumerate(stages)]


def test_a_forecast_corrects_what_is_left_by_what_was_measured() -> None:
    jobs = chain("split", "train", "train", "tables")
    works = [Work(seconds) for seconds in (10.0, 100.0, 200.0, 90.0)]
    forecast = Forecast(jobs, works, 2)
    assert forecast.expected({}) == [10, 100, 200, 90]
    assert forecast.now({}) == (0.0, 400.0)
    # The split took 5 times its estimate, the first training half.
    forecast.took = {0: 50.0, 1: 50.0}
    overall = (100 + PRIOR * 400) / (110 + PRIOR * 400)
    training = (50 + 150 * overall) / (100 + 150)
    assert forecast.expected({}) == pytest.approx([50, 50, 200 * training, 90 * overall])
    share, left = forecast.now({2: 30.0})
    assert left == pytest.approx(200 * training - 30 + 90 * overall)
    assert share == pytest.approx(130 / (100 + 200 * training + 90 * overall))
    # One that runs for longer than that is taken to run on.
    assert forecast.expected({2: 1000.0})[2] == pytest.approx(1000 * (1 + OVERRUN))
    forecast.took = dict.fromkeys(range(4), 7.0)
    assert forecast.now({}) == (1.0, 0.0)


def test_a_machine_that_is_slower_by_a_factor_is_found_out() -> None:
    """Where all jobs take k times their estimates, the error of the forecast falls with every job."""
    jobs, works = [Job("train", {}, 1, 0, 0, ()) for _ in range(10)], [Work(30.0)] * 10
    forecast, errors = Forecast(jobs, works, 1), []
    for number in range(10):
        errors.append(abs(90.0 * (10 - number) / forecast.now({})[1] - 1))
        forecast.took[number] = 90.0
    assert all(later < earlier for earlier, later in pairwise(errors))
    assert errors[0] == pytest.approx(2)
    assert errors[-1] < 0.15


def test_what_is_left_on_several_cores_is_what_the_schedule_says() -> None:
    jobs, works = [Job("train", {}, 1, 0, 0, ()) for _ in range(4)], [Work(seconds) for seconds in (4.0, 3.0, 2.0, 1.0)]
    for cores in (1, 2, 4):
        assert Forecast(jobs, works, cores).now({})[1] == schedule(jobs, works, cores)[0] == {1: 10, 2: 5, 4: 4}[cores]


def test_durations_are_short() -> None:
    times = [0.4, 94, 119, 120, 800, 7199, 7200, 36000, 172800]
    assert list(map(brief, times)) == [
        "0 s",
        "94 s",
        "119 s",
        "2 min",
        "13 min",
        "120 min",
        "2.0 h",
        "10.0 h",
        "2.0 days",
    ]


def test_jobs_are_priced_and_their_disk_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    study = configured(ROOT / "tests/workflow/tiny.yaml")
    jobs = chain("train", "gradients", "reduce", "gradients", "reduce")
    shard = Work(4.0, 2e13, "shards", 5.0)
    works = iter([Work(60.0, 1e13, "weights", 2.0), shard, Work(1.0), shard, Work(1.0)])
    monkeypatch.setattr(price.Model, "work", lambda self, job: next(works))
    found = price.priced(study, jobs, [2, 0, 0, 1, 0], start=3.0)
    # On GPUs by the operations, without what starts it.
    assert [work.seconds for work in found] == [3 + 0.5, 4.0, 1.0, 3 + 2.0, 1.0]
    assert disk(jobs, found, 1, keep=True) == 12
    assert disk(jobs, found, 1, keep=False) == 2 + 5
