"""Trajectories from memory and from the mapped cache are the same, in bounded memory, each chunk decompressed once."""

import json
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
import zarr
from torch import nn
from zarr.codecs import BloscCodec, Crc32cCodec

from surroscope.config import jobs
from surroscope.cost_function import smse
from surroscope.data import mapped, transitions
from surroscope.errors import UserError
from surroscope.models import surrogate
from surroscope.runtime import store
from surroscope.stages import train
from surroscope.training import loop, windows

SNAPSHOTS, KEPT, CELLS = 5, 4, (4, 8, 8)
TRAIN = jobs.Train(
    system="CE",
    boundary="periodic",
    model="vit",
    factory="surroscope.models.vit:build",
    options={"patch": 4, "width": 8, "depth": 1, "heads": 2},
    seed=1,
    snapshots=KEPT,
    epochs=2,
    save_epochs=[1, 2],
    learning_rate=1e-3,
    weight_decay=0.0,
    batch=7,
)


def write(path: Path, count: int, seed: int) -> np.ndarray:
    """A store as `ingest` writes it, several shards of 3 trajectories."""
    states = np.random.default_rng(seed).uniform(1, 2, size=(count, SNAPSHOTS, *CELLS)).astype(np.float32)
    with store.writing(path, {}) as temporary:
        xr.Dataset(coords={"trajectory": np.arange(count)}).to_zarr(temporary, zarr_format=3, consolidated=False)
        zarr.open_group(temporary).create_array(
            "state",
            data=states,
            chunks=(1, 1, *CELLS),
            shards=(3, SNAPSHOTS, *CELLS),
            compressors=[BloscCodec(cname="zstd", clevel=5, shuffle="shuffle"), Crc32cCodec()],
            fill_value=float("nan"),
            dimension_names=("trajectory", "time", "channel", "y", "x"),
        )
    return states


class Data:
    """Two classes of different sizes; the split is in the order that its seed draws."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stores, self.split = folder, [folder / "b.zarr", folder / "a.zarr"], folder / "split.json"
        self.states = {path.stem: write(path, 10 + n, n) for n, path in enumerate(self.stores)}
        self.divide(0)

    def divide(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        parts = {}
        for name in draw.permutation(list(self.states)):
            order = draw.permutation(len(self.states[name])).tolist()
            parts[str(name)] = {"train": order[:6], "validation": order[6:8], "test": order[8:]}
        self.split.write_text(json.dumps(parts))

    def expected(self, part: str, snapshots: int | None = KEPT) -> np.ndarray:
        parts = json.loads(self.split.read_text())
        return np.concatenate([self.states[name][own[part], :snapshots] for name, own in parts.items()])

    def cache(self) -> Path:
        return mapped.built(self.folder / "cache", self.stores, self.split, KEPT)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path)


SNAPSHOT_BYTES = 4 * 4 * 64


@pytest.mark.parametrize("block", [1, 3 * SNAPSHOT_BYTES, 2**26])  # one snapshot, part of a trajectory, all of it
@pytest.mark.parametrize("seed", [1, 2])
def test_cache_and_memory_hold_the_split_in_its_order(data: Data, seed: int, block: int, monkeypatch) -> None:
    monkeypatch.setattr(transitions, "BLOCK_BYTES", block)
    data.divide(seed)
    path = data.cache()
    for part in mapped.PARTS:
        assert np.array_equal(transitions.trajectories(data.stores, data.split, part, KEPT), data.expected(part))
        assert np.array_equal(transitions.mapped(path, part), data.expected(part))
    assert np.array_equal(transitions.trajectories(data.stores, data.split, "test"), data.expected("test", None))
    assert [file.name for file in sorted(path.iterdir())] == ["manifest.json", "train.npy", "validation.npy"]


def test_classes_and_chosen_trajectories_are_those_of_the_split(data: Data) -> None:
    found = transitions.by_class(data.stores, data.split, "train", 3, slice(2, 4))
    parts = json.loads(data.split.read_text())
    assert list(found) == list(parts)
    for name, states in found.items():
        assert np.array_equal(states, data.states[name][parts[name]["train"][2:4], :3])


def test_no_block_is_larger_than_the_limit(data: Data, monkeypatch) -> None:
    monkeypatch.setattr(transitions, "BLOCK_BYTES", 3 * SNAPSHOT_BYTES)
    blocks = [block for *_, block in transitions.Stack(data.stores, data.split, "train", KEPT).blocks()]
    assert [len(block) for block in blocks] == [3, 1] * 12
    assert max(block.nbytes for block in blocks) == 3 * SNAPSHOT_BYTES


def test_each_chunk_is_decompressed_once(data: Data, monkeypatch) -> None:
    monkeypatch.setattr(transitions, "BLOCK_BYTES", 3 * SNAPSHOT_BYTES)
    decoded = []
    decode = BloscCodec._decode_single

    async def counted(self, chunk, spec):
        decoded.append(chunk.to_bytes())
        return await decode(self, chunk, spec)

    monkeypatch.setattr(BloscCodec, "_decode_single", counted)
    data.cache()
    chunks = sum(len(data.expected(part)) for part in mapped.PARTS) * KEPT
    assert len(decoded) == len(set(decoded)) == chunks


def test_a_mapped_array_becomes_a_tensor_without_copy_and_cannot_change_the_file(data: Data) -> None:
    path = data.cache()
    states = transitions.mapped(path, "train")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = torch.from_numpy(states)
    assert tensor.data_ptr() == states.ctypes.data
    tensor[:] = 0
    assert np.array_equal(transitions.mapped(path, "train"), data.expected("train"))
    store.verify(path)


def test_an_array_larger_than_memory_is_mapped(tmp_path: Path) -> None:
    with store.atomic(tmp_path / "cache") as temporary:
        temporary.mkdir()
        # A hole in the file: it takes no space.
        np.lib.format.open_memmap(temporary / "train.npy", mode="w+", dtype=np.float32, shape=(2**8, 2**30))
        size = (temporary / "train.npy").stat().st_size
        files = {"train.npy": {"size": size, "sha256": ""}}
        text = json.dumps({"files": files, "digest": store._digest(files)})
        (temporary / store.MANIFEST).write_text(text)
    states = transitions.mapped(tmp_path / "cache", "train")
    assert states.nbytes == 2**40
    assert states[-1, -1] == 0


def shorten(path: Path) -> None:
    (path / "train.npy").write_bytes((path / "train.npy").read_bytes()[:-4])


def scramble(path: Path) -> None:
    content = (path / "train.npy").read_bytes()
    (path / "train.npy").write_bytes(b"x" * 80 + content[80:])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (shorten, "train.npy"),
        (scramble, "not an array"),
        (lambda path: (path / "validation.npy").unlink(), "is missing"),
        (lambda path: (path / store.MANIFEST).unlink(), "no readable manifest"),
    ],
)
def test_a_damaged_cache_is_an_error_that_names_it(data: Data, change, words: str) -> None:
    path = data.cache()
    change(path)
    with pytest.raises(store.DamagedStoreError, match=words) as caught:
        transitions.mapped(path, "train")
    assert str(path) in str(caught.value)


def test_a_cache_with_one_wrong_bit_is_built_again(data: Data, capsys: pytest.CaptureFixture[str]) -> None:
    path = data.cache()
    content = (path / "train.npy").read_bytes()
    (path / "train.npy").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert data.cache() == path
    assert (path / "train.npy").read_bytes() == content
    assert "it is built again" in capsys.readouterr().out


def test_a_damaged_chunk_is_an_error_and_leaves_no_cache(data: Data) -> None:
    chunk = data.folder / "a.zarr" / "state" / "c" / "0" / "0" / "0" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    for at in range(100, len(content), 500):
        content[at] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(store.DamagedStoreError, match=r"a\.zarr: a chunk is damaged"):
        data.cache()
    assert [path.name for path in data.folder.iterdir() if "cache" in path.name] == ["cache.lock"]


def test_too_little_room_is_said_before_anything_is_written(data: Data, monkeypatch) -> None:
    (data.folder / ".cache.partial-1").mkdir()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 10))
    with pytest.raises(UserError, match=r"disk full: the trajectories of a split .*needs .* MB, .* MB are free"):
        data.cache()
    assert [path.name for path in data.folder.iterdir() if "cache" in path.name] == ["cache.lock"]


def trained(data: Data, name: str, reader: str, settings: jobs.Train = TRAIN) -> Path:
    folder = data.folder / name
    outputs = {key: folder / key for key in ("weights", "history", "checkpoints")}
    train.stage(settings, stores=data.stores, split=data.split, mapping=data.folder / "cache", reader=reader, **outputs)
    return folder


def equal(one: Path, other: Path) -> None:
    for epoch in TRAIN.save_epochs:
        first, second = (torch.load(surrogate.weights_of(folder / "weights", epoch)) for folder in (one, other))
        assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    first, second = (pd.read_csv(folder / "history").drop(columns="seconds") for folder in (one, other))
    assert first.equals(second)


def test_training_from_the_cache_is_bitwise_that_from_the_stores(data: Data, capsys: pytest.CaptureFixture) -> None:
    memory = trained(data, "one", "memory")
    assert not (data.folder / "cache").exists()
    equal(trained(data, "other", "mapped"), memory)
    # A checkpoint of one reader is gone on from with the other.
    trained(data, "both", "memory", TRAIN.model_copy(update=dict(epochs=1, save_epochs=[1])))
    capsys.readouterr()
    equal(trained(data, "both", "mapped"), memory)
    assert "resuming after epoch 1" in capsys.readouterr().out


def test_a_cache_is_built_once_and_anew_for_another_split_or_length(data: Data, monkeypatch) -> None:
    builds = []
    build = mapped.build
    monkeypatch.setattr(mapped, "build", lambda *arguments: (builds.append(1), build(*arguments)))
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(lambda _: data.cache(), range(3)))
    assert len(builds) == 1
    assert len(set(paths)) == 1
    data.divide(5)
    assert np.array_equal(transitions.mapped(data.cache(), "train"), data.expected("train"))
    mapped.built(data.folder / "cache", data.stores, data.split, 3)
    assert transitions.mapped(data.folder / "cache", "train").shape[1] == 3
    assert len(builds) == 3


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_one_step_is_the_mean_error_over_all_transitions_in_order(data: Data, batch: int) -> None:
    states = torch.from_numpy(data.expected("train"))
    network = nn.Conv2d(4, 4, 3, padding=1)
    errors = []
    starts, ends = (part.flatten(0, 1).split(batch) for part in (states[:, :-1], states[:, 1:]))
    with torch.no_grad():
        for start, end in zip(starts, ends, strict=True):
            errors.append(smse(network(start), end, start).double())
    assert loop.one_step(network, states, batch) == torch.cat(errors).mean().item()


def test_gathered_transitions_are_consecutive_snapshots(data: Data) -> None:
    states = torch.from_numpy(data.expected("train"))
    order = np.random.default_rng(0).permutation(len(states) * (KEPT - 1))
    found = windows.gather(states, order)
    for place, part in enumerate((states[:, :-1], states[:, 1:])):
        assert torch.equal(found[:, place], part.flatten(0, 1)[order])


def test_epoch_0_is_the_network_as_initialised_and_changes_no_other(data: Data, capsys: pytest.CaptureFixture) -> None:
    plain = trained(data, "one", "memory")
    files = {path.name: path.read_bytes() for path in (plain / "checkpoints").glob("*.pt")}
    capsys.readouterr()
    both = trained(data, "one", "memory", TRAIN.model_copy(update={"save_epochs": [0, 1, 2]}))
    assert "resuming after epoch 2" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in (both / "checkpoints").glob("*.pt")} == files
    fresh = trained(data, "other", "memory", TRAIN.model_copy(update={"save_epochs": [0, 1, 2]}))
    equal(fresh, both)
    network = surrogate.build(TRAIN.factory, TRAIN.options, shape=CELLS, seed=TRAIN.seed)
    validation = torch.from_numpy(transitions.trajectories(data.stores, data.split, "validation", KEPT))
    for folder in (both, fresh):
        found = torch.load(surrogate.weights_of(folder / "weights", 0))
        assert all(torch.equal(found[name], tensor) for name, tensor in network.state_dict().items())
        assert not surrogate.moments_of(folder / "weights", 0).exists()
        first, *others = pd.read_csv(folder / "history").to_dict("records")
        assert first["validation"] == pytest.approx(loop.one_step(network, validation, TRAIN.batch), rel=1e-12)
        assert np.isnan([first[name] for name in ("train", "learning_rate", "seconds")]).all()
        assert [first["epoch"], *(row["epoch"] for row in others)] == [0, 1, 2]
        assert (first["seed"], first["persistence"]) == (TRAIN.seed, others[0]["persistence"])


def test_a_study_of_the_untrained_network_alone(data: Data) -> None:
    folder = trained(data, "one", "memory", TRAIN.model_copy(update={"epochs": 1, "save_epochs": [0]}))
    assert [path.name for path in (folder / "weights").glob("*.pt")] == ["epoch0.pt"]
    assert pd.read_csv(folder / "history")["epoch"].tolist() == [0, 1]
