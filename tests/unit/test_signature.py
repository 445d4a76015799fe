"""Checkpoints of finished studies in one figure, as their error falls."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from surroscope.plots import signature as plots
from surroscope.plots import style
from surroscope.runtime import claims, cli, provenance, store
from surroscope.tables import signature as tables
from surroscope.tables.published import SOURCE
from surroscope.tools import signature

EPOCHS = (0, 1, 2, 4, 8, 16)


def checkpoints(epochs: tuple[int, ...] = EPOCHS, seeds: tuple[int, ...] = (10,), model: str = "unet") -> pd.DataFrame:
    """The error falls with the epoch; influence at lag 1 falls with it, alignment too, and the kernel does not move."""
    rows = []
    for seed in seeds:
        for place, epoch in enumerate(epochs):
            about = {"model": model, "quantity": "span", "seed": seed, "epoch": epoch}
            error = {"validation": 0.5**place, "persistence": 0.25 * seed, "train": 0.5**place}
            numbers = dict.fromkeys((*tables.LAGS, *tables.TAKEN), 0.9)
            numbers |= {"intra_class_lag_0": 2.0, "intra_class_lag_1": 2 - 0.2 * place, "intra_class_lag_8": 1.0}
            numbers |= {"half_life": np.inf if place < 2 else 8.0 - place, "alignment_lag_8": 0.5**place}
            numbers |= {"kernel_transfer_time": 0.8 + 0.01 * place}
            rows.append(about | error | numbers | {"n_probes": 4})
    return pd.DataFrame(rows)


def finished(folder: Path, **systems: pd.DataFrame) -> Path:
    """A study that ran to its end, as far as its checkpoints and its record."""
    config: dict[str, dict[str, object]] = {"systems": {system: {} for system in systems}}
    for system, table in systems.items():
        path = folder / system / "tables" / "checkpoints.csv"
        with claims.claimed([path]), store.atomic(path) as temporary:
            table.to_csv(temporary, index=False)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / provenance.FILE).write_text(json.dumps({"config": config}))
    return folder


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_finished_study_is_drawn_and_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    finished(Path("results/a"), CE=checkpoints(), NS=checkpoints(model="vit"))
    finished(Path("results/b"), CE=checkpoints(seeds=(10, 35)))
    Path("results/running/CE/tables").mkdir(parents=True)
    signature.main()
    drawn = pd.read_csv("results/signature.csv")
    assert drawn.groupby(["study", "system"], sort=False).size().to_dict() == {
        ("a", "CE"): 6,
        ("a", "NS"): 6,
        ("b", "CE"): 12,
        (SOURCE, "CE"): 4,
        (SOURCE, "NS"): 4,
    }
    assert np.isinf(drawn[drawn["epoch"] == 0]["half_life"]).all()
    assert Path("results/signature.png").stat().st_size > 1e4
    assert Path("results/signature.pdf").read_bytes().startswith(b"%PDF")
    said = capsys.readouterr().out
    assert "a, CE unet, 5 checkpoints: signed influence at lag 1 over lag 0 −1.00" in said
    assert "kernel transfer between times 1.00, alignment of residuals at lag 8 −1.00" in said


def test_studies_of_one_name_are_told_apart_by_their_folders() -> None:
    folders = finished(Path("x/long"), CE=checkpoints()), finished(Path("y/long"), CE=checkpoints())
    assert set(signature.tables(folders)) == {("x/long", "CE"), ("y/long", "CE")}


def test_trained_checkpoints_are_ranked_by_how_far_they_beat_persistence() -> None:
    # Of the second seed, whose persistence is larger, the same error is a better one.
    table = tables.gathered({("a", "CE"): checkpoints(seeds=(10, 40))})
    found = tables.correlations(table).iloc[0]
    assert found["n_points"] == 10
    trained = table[table["epoch"] > 0]
    error, ratio = (trained[name].rank().to_numpy() for name in ("relative_error", "lag_1_ratio"))
    assert found["lag_1_ratio"] == pytest.approx(np.corrcoef(-error, ratio)[0, 1], rel=1e-12)
    assert np.isnan(found["lag_8_ratio"])  # the same at every checkpoint
    np.testing.assert_allclose(table["lag_1_ratio"][:3], [1.0, 0.9, 0.8])


def test_few_trained_checkpoints_have_no_correlation() -> None:
    table = tables.gathered({("a", "CE"): checkpoints((0, 1, 2, 3))})
    assert "a, CE unet, 3 checkpoints: none" in signature.trend(table)


def test_a_study_without_kernel_and_trained_epochs_of_another_system_is_drawn(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bare = checkpoints((0,)).assign(**dict.fromkeys((*tables.KERNEL, *tables.RESIDUALS), np.nan))
    signature.main(finished(Path("results/bare"), SW=bare))
    assert "bare, SW unet, 0 checkpoints: none" in capsys.readouterr().out
    drawn = pd.read_csv("results/signature.csv")
    assert set(drawn["study"]) == {"bare"}
    assert drawn["kernel_transfer_time"].isna().all()
    assert Path("results/signature.png").is_file()


def test_a_long_list_of_networks_takes_no_room_from_the_panels() -> None:
    table = pd.concat([tables.gathered({("a", "CE"): checkpoints(model=f"net{number}")}) for number in range(20)])
    with style.styled():
        figure = plots.signature(table, tables.theirs(["CE"]), style.Options())
        figure.draw_without_rendering()
    heights = [panel.get_position().height for panel in figure.axes]
    assert max(heights) < 1.01 * min(heights)


def test_published_marks_follow_from_the_published_curves() -> None:
    marks = tables.theirs(["CE"]).set_index("model")
    assert marks.loc["vit", "lag_1_ratio"].tolist() == pytest.approx([1.4 / 6.4] * 2)
    # The line from 6.4 at lag 0 to 1.4 at lag 1 is at 3.2 after 3.2 / 5 of a step.
    assert marks.loc["vit", "half_life"].tolist() == pytest.approx([0.64] * 2)
    assert marks.loc["unet", "class_transfer_ratio"].tolist() == pytest.approx([0.1 / 1.4, 0.1 / 1.3])
    # Of NS no curve was published.
    assert tables.theirs(["NS"])[["half_life", "lag_1_ratio"]].isna().all(axis=None)


def test_what_cannot_be_drawn_is_named_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    finished(Path("results/good"), CE=checkpoints())
    finished(Path("results/old"), CE=checkpoints().drop(columns="alignment_lag_8"))
    finished(Path("results/failed"), CE=checkpoints().assign(validation=np.nan))
    once = checkpoints()
    once.loc[2, "validation"] = np.inf
    finished(Path("results/once"), CE=once)
    found = signature.tables(tuple(sorted(Path("results").iterdir())))
    assert {study: len(table) for (study, _), table in found.items()} == {"good": 6, "once": 5}
    said = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in said] == ["results/failed, CE", "results/old, CE", "results/once, CE"]
    assert "no checkpoint has a validation error" in said[0]
    assert "no column alignment_lag_8" in said[1]
    assert "1 checkpoints without" in said[2]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What the tool says when it ends with an error."""
    monkeypatch.setattr("sys.argv", ["signature", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.tool(signature.main)
    return str(ended.value)


def test_errors_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch) == "error: results: holds no finished study; run one first"
    Path("results/running").mkdir(parents=True)
    assert "results/running: has no provenance.json, so the study is not finished" in run(
        monkeypatch, "results/running"
    )
    assert "nowhere: is not there" in run(monkeypatch, "nowhere")
    finished(Path("results/edited"), CE=checkpoints())
    with Path("results/edited/CE/tables/checkpoints.csv").open("a") as file:
        file.write("\n")
    assert "damaged or edited" in run(monkeypatch)
    (Path("results/edited") / provenance.FILE).write_text("{")
    assert "provenance.json: damaged" in run(monkeypatch, "results/edited")
    assert not Path("results/signature.csv").exists()
    old = finished(Path("old"), CE=checkpoints().drop(columns="half_life"))
    assert "no table `checkpoints` that can be drawn" in run(monkeypatch, str(old))
