"""What jobs took is read from benchmark files with and without Snakemake's further columns."""

from pathlib import Path

import pytest

from surroscope.runtime import cost

SHORT = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time"
LONG = f"{SHORT}\tjobid\trule_name\twildcards\tparams\tthreads\tcpu_usage\tresources\tinput_size_mb"


def short(seconds: float, rss: str = "100.5", cpu: str = "5.0") -> str:
    return f"{SHORT}\n{seconds}\t0:00:10\t{rss}\t1\t1\t1\t1\t1\t1\t{cpu}\n"


def extended(rule: str, seconds: float, threads: int, resources: str) -> str:
    row = short(seconds).splitlines()[1]
    return f"{LONG}\n{row}\t7\t{rule}\t{{'a': '\\t'}}\t{{'secret': 'x'}}\t{threads}\t1\t{resources}\t{{}}\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_jobs_add_up_by_stage(tmp_path: Path) -> None:
    gpu = "{'tmpdir': '/tmp', 'mem_mb': 2035, 'gpu': 1, '_cores': 1}"
    write(tmp_path / "a/train.benchmark.tsv", extended("train", 3600, 2, gpu))
    write(tmp_path / "b/train.benchmark.tsv", extended("train", 1800, 1, gpu))
    drawn = [
        write(tmp_path / n / "figures.benchmark.tsv", extended(f"figures_{n}", 36, 1, "{'mem_mb': 1000}")) for n in "xy"
    ]
    train, figures = cost.by_stage([tmp_path / "a", tmp_path / "b", *drawn, tmp_path / "missing.benchmark.tsv"])
    assert train == cost.StageCost("train", 2, 2.5, pytest.approx(10 / 3600), 1.5, 3600, 100.5, 2035)
    assert (figures.stage, figures.jobs, figures.core_hours, figures.gpu_hours) == ("figures", 2, 0.02, 0)


def test_without_the_further_columns_the_place_tells_the_stage(tmp_path: Path) -> None:
    (found,) = cost.by_stage([write(tmp_path / "epoch1/evaluation.benchmark.tsv", short(36, "NA", "NA"))])
    assert found == cost.StageCost("evaluate", 1, 0.01, None, None, 36, None, None)


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ("data/raw/d/CE/CE-RP/block0", "simulate"),
        ("data/raw/d/CE/CE-RP/data_0.nc", "download"),
        ("data/store/d/CE/CE-RP", "ingest"),
        ("results/s/CE/splits/seed10", "split"),
        ("results/s/CE/unet/linearization", "calibrate"),
        ("results/s/CE/unet/seed1/epoch1/gradients/shard0", "gradients"),
        ("results/s/CE/unet/seed1/epoch1/cross/shard0", "cross_gradients"),
        ("results/s/CE/unet/seed1/retraining/without_CE-RP_0", "retrain"),
        ("results/s/CE/unet/seed1/epoch1/cross", "cross"),
        ("results/s/CE/unet/seed1/epoch1/full_sweep", "full_sweep"),
        ("results/s/CE/tables/tables", "tables"),
        ("results/s/CE/figures/figures", "figures"),
        ("results/s/report", "report"),
    ],
)
def test_every_place_has_its_stage(path: str, stage: str) -> None:
    assert cost.stage_of(Path(path + cost.SUFFIX)) == stage
    assert cost.stage_of(Path("somewhere", path + cost.SUFFIX)) == stage


def test_a_rule_may_have_another_name(tmp_path: Path) -> None:
    renamed = extended("surroscope_train", 3600, 1, "{}")
    (found,) = cost.by_stage([write(tmp_path / "seed1/train.benchmark.tsv", renamed)])
    assert found.stage == "train"


@pytest.mark.parametrize("text", ["", "s\n", "not a benchmark\n\x00\n", f"{SHORT}\nNA\n"])
def test_what_is_no_benchmark_is_passed_over(tmp_path: Path, text: str) -> None:
    assert cost.by_stage([write(tmp_path / "train.benchmark.tsv", text)]) == []


def test_resources_that_cannot_be_read_are_not_recorded(tmp_path: Path) -> None:
    (found,) = cost.by_stage([write(tmp_path / "x.benchmark.tsv", extended("train", 36, 1, "open('/etc/passwd')"))])
    assert (found.gpu_hours, found.asked_mb) == (None, None)
