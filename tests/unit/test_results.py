"""A finished study of random numbers on disk, opened, tabled and drawn again."""

import json
import tomllib
from dataclasses import asdict
from importlib import metadata
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from figure_tables import all_tables
from matplotlib.figure import Figure
from test_tables import RESPONSES, labelled

import surroscope
from surroscope.errors import UserError
from surroscope.influence.responses import MATRIX
from surroscope.plots import style
from surroscope.report.draw import draw
from surroscope.runtime import claims, store
from surroscope.tables import rollouts
from surroscope.version import version

SEEDS, EPOCH = (10, 35), 3
RANDOM = np.random.default_rng(0)
ERROR = RANDOM.uniform(size=(2, 2, 4, 5))  # class, probe, start, snapshot
ERROR[..., np.arange(5) <= np.arange(4)[:, None]] = np.nan
OPTIONS = style.Options(heatmap_limit=3.0, dpi=40, models=("vit", "unet"))
TABLES = all_tables()


def stores(seed: int) -> dict[str, xr.Dataset]:
    influence = labelled(seed, seed + 1)
    for name in ("response_class", "perturbation_class", "solver"):
        influence = influence.assign_coords({name: store.names(name, [str(v) for v in influence[name].values])})
    shape = {"response": len(RESPONSES), "probe": 1, **{name: influence.sizes[name] for name in MATRIX}}
    full = xr.Dataset({"influence": (tuple(shape), RANDOM.normal(size=tuple(shape.values())))})
    evaluation = xr.Dataset({"error": (("class", "probe", "start", "snapshot"), seed * ERROR)})
    maps = xr.Dataset({"response": (("pair", "y"), RANDOM.normal(size=(2, 3)))})
    # Of another seed the span has another number of directions.
    cross = xr.Dataset({"eigenvalue": ("mode", RANDOM.uniform(size=seed)), "leverage": ("sample", np.ones(4))})
    found = {"influence": influence, "evaluation": evaluation, "full": full, "cross": cross}
    return found | ({"maps": maps} if seed == SEEDS[0] else {})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, digests = tmp_path_factory.mktemp("results") / "random", {}
    for model in ("vit", "unet"):
        for seed in SEEDS:
            for name, dataset in stores(seed).items():
                path = folder / f"CE/{model}/seed{seed}/epoch{EPOCH}/{name}.zarr"
                path.parent.mkdir(parents=True, exist_ok=True)
                dataset = dataset.assign_attrs(model=model, seed=seed, epoch=EPOCH)
                with store.writing(path, {}) as temporary:
                    dataset.to_zarr(temporary, zarr_format=3, consolidated=False)
                digests[f"results/{path.relative_to(folder.parent)}"] = {"digest": store.manifest(path)["digest"]}
    told = {"label": "times shared", "sentence": "It shares.", "signature": {"label": "class-locked"}}
    texts = {f"tables/{name}.csv": table.to_csv(index=False) for name, table in TABLES.items()}
    texts |= {"tables/verdict.json": json.dumps(dict.fromkeys(("vit", "unet"), told)), "figures/two_time.png": "drawn"}
    for name, text in texts.items():
        path = folder / "CE" / name
        path.parent.mkdir(exist_ok=True)
        settings = {"settings": asdict(OPTIONS) | {"of_later": 1}} if name.startswith("figures") else {}
        with claims.claimed([path]), store.recording(settings), store.atomic(path) as temporary:
            temporary.write_text(text)
    models = {name: {"probe_epochs": [EPOCH]} for name in ("vit", "unet")}
    config = {"seeds": SEEDS, "systems": {"CE": {"models": models}}, "sensitivity": {"seeds": 2}}
    record = {"config": config, "versions": {}, "stores": digests}
    (folder / "provenance.json").write_text(json.dumps(record))
    return folder


def test_a_tree_holds_what_the_study_has_and_says_what_it_is(study: Path) -> None:
    tree = surroscope.open_study(study)
    names = ["influence", "evaluation", "full", "cross", "maps", "sensitivity"]
    assert sorted(tree["CE/vit"].children) == sorted(names)
    h = tree["CE/vit/influence"]["influence"]
    assert h.attrs["units"] == "1"
    assert h.attrs["long_name"].startswith("influence: fall of what responds")
    own = h.sel(seed=35, epoch=EPOCH, observable="smse", step="mass", solver="subspace", probe=36).transpose(*MATRIX)
    expected = labelled(35, 36)["influence"].isel(solver=0, response=3, probe=1).transpose(*MATRIX)
    np.testing.assert_array_equal(own, expected)
    full = tree["CE/vit/full"]["influence"].sel(observable="mass", step="smse")
    assert full.sizes == {
        "seed": 2,
        "epoch": 1,
        "probe": 1,
        **dict.fromkeys(MATRIX[::2], 2),
        **dict.fromkeys(MATRIX[1::2], 3),
    }
    assert tree["CE/vit/maps"].sizes["seed"] == 1
    eigenvalues = tree["CE/unet/cross"]["eigenvalue"].isel(epoch=0).notnull().sum("mode")
    assert eigenvalues.values.tolist() == list(SEEDS)
    table = TABLES["sensitivity"].query("model == 'unet' and seed == 35")
    variants = tree["CE/unet/sensitivity"].to_dataset().sel(seed=35)
    assert variants["half_life"].values.tolist() == table["half_life"].tolist()
    assert variants["quantity"].values.tolist() == table["quantity"].tolist()


def test_what_is_not_in_a_tree_is_answered_with_what_is(study: Path) -> None:
    tree = surroscope.open_study(study)
    with pytest.raises(KeyError, match=r"no 'CE/vit/coupling'; there are CE/vit/influence, .*CE/unet/sensitivity"):
        tree["CE/vit/coupling"]
    with pytest.raises(KeyError, match=r"no 'influense'; there are influence, evaluation"):
        tree["CE/vit"]["influense"]


def test_the_error_of_a_step_and_that_of_a_rollout_have_two_names(study: Path) -> None:
    evaluation = surroscope.open_study(study)["CE/vit/evaluation"].to_dataset().isel(epoch=0).compute()
    error, whole = evaluation["error"], evaluation["cumulative_error"]
    np.testing.assert_array_equal(error, np.stack([seed * ERROR for seed in SEEDS]))
    assert whole.sel(seed=10)[0, 1, 2, 4] == pytest.approx(10 * (ERROR[0, 1, 2, 3] + ERROR[0, 1, 2, 4]))
    assert (whole.isnull() == error.isnull()).all()
    assert "not cumulative" in error.attrs["long_name"]
    assert "summed over its steps" in whole.attrs["long_name"]
    units = error.transpose("seed", "probe", "class", "start", "snapshot").values.reshape(4, 2, 4, 5)
    table = rollouts.rollout(units, np.repeat(SEEDS, 2), 0).set_index(["start", "snapshot"])["median"]
    medians = whole.median(["seed", "probe", "class"]).to_series().dropna()
    np.testing.assert_allclose(medians, table, rtol=1e-12)


def test_verdicts_are_a_row_a_network(study: Path) -> None:
    verdicts = surroscope.verdict(study)
    assert verdicts.loc[("CE", "unet"), "label"] == "times shared"
    assert verdicts["signature"].tolist() == ["class-locked"] * 2


def pixels(figure: Figure) -> bytes:
    with BytesIO() as buffer, style.styled():
        figure.savefig(buffer, format="rgba", dpi=40)
        return buffer.getvalue()


@pytest.mark.parametrize("name", ["two_time", "time_lag_mass", "rollout_fields"])
def test_a_figure_is_drawn_as_the_study_drew_it(study: Path, name: str) -> None:
    table = TABLES["rollout_fields" if name == "rollout_fields" else name.removesuffix("_mass")]
    drawn = draw(name, table, OPTIONS)
    if isinstance(drawn, style.Moving):
        drawn.update(0)
    expected = drawn.figure if isinstance(drawn, style.Moving) else drawn
    assert pixels(surroscope.plot(name, study)) == pixels(expected)


def test_options_and_rows_change_a_figure(study: Path) -> None:
    def images(**options) -> list:
        return [image for axes in surroscope.plot("two_time", study, **options).axes for image in axes.images]

    assert [image.get_clim()[1] for image in images()] == [3.0, 3.0]
    (image,) = images(heatmap_limit=1.5, only={"model": ["unet"]})
    assert image.get_clim()[1] == 1.5
    medians = TABLES["two_time"].query("model == 'unet' and observable == 'smse' and step == 'smse'")["median"]
    assert set(np.ravel(image.get_array())) == set(medians)


def test_what_cannot_be_drawn_is_said(study: Path) -> None:
    for words, call in {
        r"no figure 'two'; there are: verdict_plane, training, .*two_time": {"name": "two"},
        r"no option colour; there are: heatmap_limit, notes, letters": {"name": "two_time", "colour": "red"},
        r"table two_time has no column 'net'; there are: model": {"name": "two_time", "only": {"net": ["vit"]}},
        r"no row is left with model \['ViT'\]; there are: vit, unet": {"name": "two_time", "only": {"model": ["ViT"]}},
        r"NS/tables.*no such table": {"name": "two_time", "system": "NS"},
    }.items():
        with pytest.raises(UserError, match=words):
            surroscope.plot(study=study, **call)


def test_the_version_is_that_of_the_checkout_and_else_of_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "version", {"surroscope": "1.2.3"}.__getitem__)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert surroscope.__version__ == project["version"]
    other = tmp_path / "pyproject.toml"
    other.write_text('[project]\nname = "surroscope"\nversion = "9.8.7"\n')
    assert version(other) == "9.8.7"
    other.write_text('[project]\nname = "another"\nversion = "9.8.7"\n')
    assert version(other) == version(tmp_path / "none.toml") == "1.2.3"
