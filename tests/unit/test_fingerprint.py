"""A fingerprint follows the code that runs: not its comments, and not its neighbours."""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

import pytest

import surroscope
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


def test_a_name_for_readers_runs_no_stage_again() -> None:
    held, imported = fingerprint._outline("surroscope", "surroscope")
    assert "open_study" in held
    assert set(surroscope.__all__) > {"standardised", "plot"}
    assert not [name for name in ("standardised", "plot", "labelled") if name in held]
    assert imported == ("importlib", "importlib.import_module", "typing", "typing.Any")


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


class Finder:
    """Like the one that `pip install --editable` of a flat layout leaves: it knows where one package or module is."""

    def __init__(self, name: str, source: Path) -> None:
        self.name, self.source = name, source

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return spec_from_file_location(name, self.source) if name == self.name else None


@pytest.mark.parametrize(
    ("name", "source", "module", "edited"),
    [
        ("installed", "elsewhere/__init__.py", "installed.deep", "elsewhere/deep.py"),
        ("space.installed", "elsewhere/__init__.py", "space.installed.deep", "elsewhere/deep.py"),
        ("lonely", "elsewhere/deep.py", "lonely", "elsewhere/deep.py"),
    ],
)
def test_an_editable_installation_is_found_by_its_finder_and_not_run(
    package: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: str, module: str, edited: str
) -> None:
    folder = package.parent / "elsewhere"
    folder.mkdir()
    for file in ("__init__.py", "deep.py"):
        (folder / file).write_text("raise SystemExit('it was run')\n")
    (package / "ground.py").write_text(f"import {module}\n\ndef h():\n    return 1\n")
    without = of_top()
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder(name, package.parent / source)])
    before = of_top()
    assert before != without
    assert fingerprint.of_code(module)
    (package.parent / edited).write_text("raise SystemExit('it was run, edited')\n")
    assert of_top() != before
    with pytest.raises(UserError, match="install the package that holds"):
        fingerprint.of_code(f"{module}.nowhere")


def test_a_library_that_a_finder_knows_is_one(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = package.parent / "site-packages" / "hidden.py"
    library.parent.mkdir()
    library.write_text("X = 1\n")
    (package / "ground.py").write_text("import hidden\n\ndef h():\n    return 1\n")
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder("hidden", library)])
    before = of_top()
    library.write_text("X = 2\n")
    assert of_top() == before


def test_another_loader_runs_adoption_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mynet.py").write_text("def build(): return 1\n")
    settings = {"factory": "mynet:build", "loader": "myload:tensors"}
    found = set()
    for number in (1, 2):
        (tmp_path / "myload.py").write_text(f"def tensors(path): return {number}\n")
        fingerprint.of_code.cache_clear()
        fingerprint._outline.cache_clear()
        found.add(fingerprint.of_stage("adopt", settings))
    assert len(found) == 2
