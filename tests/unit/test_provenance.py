"""What is recorded of a result, and what is made of it when it is read or planned."""

import os
from pathlib import Path
from typing import Any

import pytest

from surroscope.errors import UserError
from surroscope.runtime import claims, provenance, store

MADE = {"settings": {"seed": 0, "heads": 2}, "code": "abc"}


def write(path: Path, content: str, **made: Any) -> Path:
    with claims.claimed([path]), store.recording({**MADE, "inputs": {}, **made}), store.atomic(path) as temporary:
        temporary.write_text(content)
    return path


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (MADE, None),
        ({**MADE, "versions": {"numpy": "1"}}, None),
        ({"settings": {"seed": 0, "heads": 4}, "code": "abc"}, "made with heads 4, asked for is 2"),
        ({"settings": {"seed": 0}, "code": "abc"}, "made with heads null, asked for is 2"),
        ({"settings": MADE["settings"], "code": "abd"}, "made by code abd, asked for is abc"),
        ({"made": provenance.identity(MADE["settings"], "abc")}, None),
        ({"made": "0" * 16}, "what was made from it was made by other settings or code"),
        ({"digest": "0"}, "nothing says what made it"),
        (None, "nothing says what made it"),
    ],
)
def test_a_difference_names_both_values(made: dict | None, words: str | None) -> None:
    assert provenance.difference(made, MADE["settings"], "abc") == words


def test_what_a_stage_reads_is_checked_and_recorded(tmp_path: Path) -> None:
    split, own = write(tmp_path / "split.json", "{}"), tmp_path / "own.nc"
    own.write_text("of the user's own")
    found = provenance.inputs([split], [own])
    assert set(found) == {str(split)}
    assert found[str(split)]["made"] == provenance.identity(**MADE)
    split.write_text("{} ")
    with pytest.raises(store.DamagedStoreError, match=r"split\.json: does not have the SHA-256"):
        provenance.inputs([split])
    store.record_of(split).unlink()
    with pytest.raises(store.DamagedStoreError, match="no readable"):
        provenance.inputs([split])


def test_a_raw_file_that_was_made_here_is_checked_too(tmp_path: Path) -> None:
    raw = write(tmp_path / "block0.nc", "states")
    assert provenance.inputs([], [raw])[str(raw)]["settings"] == MADE["settings"]
    raw.write_text("stated")
    with pytest.raises(store.DamagedStoreError, match=r"block0\.nc"):
        provenance.inputs([], [raw])


def test_two_inputs_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    split = write(tmp_path / "split.json", "{}")
    history = write(tmp_path / "history.csv", "epoch", inputs=provenance.inputs([split]))
    provenance.inputs([split, history])
    write(split, "[]")
    with pytest.raises(UserError, match=r"history\.csv: was made from .*split\.json with digest .* by now"):
        provenance.inputs([split, history])


def test_data_that_others_made_meanwhile_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "CE-RP.zarr"
    with store.writing(path, MADE) as temporary:
        temporary.mkdir()
    provenance.require_made_by([path], provenance.together([provenance.identity(**MADE)]))
    with pytest.raises(UserError, match=r"CE-RP\.zarr: written again, by other settings or code"):
        provenance.require_made_by([path], provenance.together([provenance.identity(MADE["settings"], "abd")]))


def test_files_of_the_users_own_are_known_by_content_whatever_their_time(tmp_path: Path) -> None:
    own, folder = tmp_path / "a.nc", tmp_path / "b.zarr"
    own.write_text("mine")
    folder.mkdir()
    (folder / "0").write_text("mine")
    read = provenance.inputs([], [own, folder], [own, folder])
    made = write(tmp_path / "store", "x", inputs=read)

    def why() -> str | None:
        return provenance.made_otherwise(str(made), MADE["settings"], MADE["code"], {}, map(str, files))

    files = [own, folder]
    assert why() is None
    files.append(tmp_path / "new.nc")
    assert why() == f"made without {tmp_path / 'new.nc'}"
    files = [own]
    assert why() == f"made from {folder}"
    files = [own, folder]
    os.utime(own, (1, 1))
    assert why() is None
    own.write_text("ours")
    os.utime(own, (1, 1))
    assert why() == f"made from {own} as it was before"
    own.write_text("mine")
    assert why() is None
    (folder / "1").write_text("more")
    assert why() == f"made from {folder} as it was before"
