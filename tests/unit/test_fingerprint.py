"""A fingerprint follows the code that runs: not its comments, and not its neighbours."""

import sys
from pathlib import Path

import pytest

from surroscope.errors import UserError
from surroscope.runtime import fingerprint
from surroscope.runtime.environment import working_folder_last

FILES = {
    "__init__.py": "",
    "top.py": "from fakepackage import middle\nimport numpy, fakeneighbour\n\ndef f():\n    return middle.g()\n",
    "middle.py": "from .ground import h\nfrom .inner.deep import *\n\ndef g():\n    return h()\n",
    "inner/__init__.py": "",
    "inner/deep.py": "from ..other import Y\n",
    "ground.py": "def h():\n    return 1\n",
    "other.py": "Y = 1\n",
    "unused.py": "X = 1\n",
    "../fakeneighbour.py": "N = 1\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "fakepackage"
    (folder / "inner").mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return folder


def of_top() -> str:
    for cached in (fingerprint.of_code, fingerprint._source, fingerprint._outline):
        cached.cache_clear()
    return fingerprint.of_code("fakepackage.top")


@pytest.mark.parametrize(
    ("name", "text", "same"),
    [
        ("top.py", '"""Documentation."""\n' + FILES["top.py"] + "# a comment\n", True),
        ("ground.py", 'def h():\n    """Documented."""\n\n    return (1)\n', True),
        ("unused.py", "X = 2\n", True),
        ("other.py", "Y = 2\n", False),
        ("inner/__init__.py", "Z = 1\n", False),
        ("../fakeneighbour.py", "N = 2\n", False),
        ("ground.py", "def h():\n    return 2\n", False),
        ("middle.py", FILES["middle.py"] + "Y = 1\n", False),
        ("__init__.py", "Z = 1\n", False),
    ],
)
def test_what_changes_the_fingerprint(package: Path, name: str, text: str, same: bool) -> None:
    before = of_top()
    (package / name).write_text(text)
    assert (of_top() == before) is same


def test_a_missing_module_and_a_syntax_error_are_named(package: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.at\.all"):
        fingerprint.of_code("nowhere.at.all")
    (package / "ground.py").write_text("def h(:\n")
    with pytest.raises(UserError, match=r"ground\.py, line 1"):
        of_top()


def test_how_a_result_is_made_counts_as_its_format_alone(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "FORMAT_ALONE", ("fakepackage.inner",))
    (package / "inner" / "__init__.py").write_text("FORMAT = 1\n")
    before = of_top()
    (package / "inner" / "__init__.py").write_text('"""Another word."""\nimport math\n\nFORMAT = 1\n')
    (package / "inner" / "deep.py").write_text("raise SystemExit('another message')\n")
    assert of_top() == before
    (package / "inner" / "__init__.py").write_text("FORMAT = 2\n")
    assert of_top() != before


@pytest.mark.parametrize("name", fingerprint.FORMAT_ALONE)
def test_what_counts_by_its_format_has_one(name: str) -> None:
    assert fingerprint.of_code(name)


@pytest.mark.parametrize("folder", fingerprint.LIBRARY_NAMES)
def test_a_library_is_one_wherever_it_stands(package: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    library = package.parent / "module" / folder
    library.mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(library), *sys.path])
    (package / "ground.py").write_text("import elsewhere\n\ndef h():\n    return 1\n")
    before = of_top()
    (library / "elsewhere.py").write_text("this is not Python\n")
    assert of_top() == before


@pytest.mark.parametrize("name", ["dask", "time", "json"])
def test_a_file_of_the_working_folder_replaces_no_library(
    package: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (package / "ground.py").write_text(f"import {name}\n\ndef h():\n    return 1\n")
    before = of_top()
    monkeypatch.chdir(package.parent.parent)
    working_folder_last()
    assert sys.path[-1] == str(package.parent.parent)
    Path(f"{name}.py").write_text("this is not Python\n")
    try:
        assert of_top() == before
    finally:
        Path(f"{name}.py").unlink()
