"""A hash of the code that a stage runs, so that only stages whose code changed run again.

The hash covers the module itself and, transitively, every module that it imports, their packages included, but for
the standard library and installed packages (an installed package is followed if the module itself belongs to it).
It is taken from the syntax tree without docstrings: comments, formatting and documentation do not change it.
What says how a result is made and kept, and never what it is, counts as its FORMAT number alone: see FORMAT_ALONE.
Nothing is imported, so this is safe and quick inside a Snakefile. Imports by a name made at run time are not seen.
"""

import ast
import functools
import hashlib
import site
import sys
import sysconfig
from collections.abc import Mapping
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from pathlib import Path
from typing import Any

from surroscope.errors import UserError
from surroscope.importing import module_of

# The FORMAT of these is raised by hand when what they leave on disk changes its meaning. Nothing else of them, and
# nothing of the modules below them, is part of a fingerprint.
FORMAT_ALONE = ("surroscope.runtime", "surroscope.config", "surroscope.training.checkpoints")
# By name too, since they may stand anywhere on the path: PYTHONPATH of environment modules, `pip --user`.
LIBRARY_NAMES = ("site-packages", "dist-packages")
LIBRARIES = {Path(path).resolve() for path in (*sysconfig.get_paths().values(), *site.getsitepackages())}
PYTHONS_OWN = (BuiltinImporter, FrozenImporter, PathFinder)


@functools.cache
def of_code(*modules: str) -> str:
    """Fingerprint (16 hexadecimal digits) of the modules, named with dots, and all that they import.

    Raises UserError if a module has no source file on the Python path or does not parse.
    """
    closure: set[str] = set()
    for module in modules:
        package = module.partition(".")[0]
        if _source(module, package) is None:
            raise UserError(
                f"module {module!r}: no source file on the Python path; expected an importable module such as "
                f"'mypackage.networks'. Put its folder into {Path.cwd()} or on PYTHONPATH; or install the package that "
                f"holds {package!r}, with '{sys.executable} -m pip install'"
            )
        _collect(module, package, closure)
    digest = hashlib.sha256()
    for module in sorted(closure):
        digest.update(module.encode())
        digest.update(_outline(module, module.partition(".")[0])[0].encode())
    return digest.hexdigest()[:16]


def of_stage(stage: str, settings: Mapping[str, Any], *modules: str) -> str:
    """Fingerprint of what a stage runs: its own module, those that its settings name by factories, and `modules`.

    stage: one of `surroscope.stages`, or a module's whole name
    """
    own = f"surroscope.stages.{stage}"
    entries = [settings, settings.get("strategy") or {}, *settings.get("observables", {}).values()]
    factories = [factory for entry in entries for factory in _factories(entry)]
    factories += [settings["loader"]] if settings.get("loader") else []
    return of_code(own if _source(own, "surroscope") else stage, *map(module_of, factories), *modules)


def _factories(entry: Mapping[str, Any]) -> list[str]:
    """The factory of an entry, and those that its options name: of a network within a network."""
    options = entry.get("options")
    within = _factories(options) if isinstance(options, Mapping) else []
    named = entry.get("factory")
    return [*([named] if isinstance(named, str) and ":" in named else []), *within]


def _collect(module: str, package: str, closure: set[str]) -> None:
    below = module.startswith(tuple(f"{name}." for name in FORMAT_ALONE))
    if below or module in closure or _source(module, package) is None:
        return
    closure.add(module)
    for imported in _outline(module, package)[1]:
        _collect(imported, package, closure)


@functools.cache
def _source(module: str, package: str) -> Path | None:
    """The file of a module; None if it has none, or is a library's and not of `package`."""
    relative = Path(*module.split("."))
    # As Python finds modules, so that a dask.py in the working folder, which comes last, is nobody's.
    if module.partition(".")[0] in sys.builtin_module_names:
        return None
    for folder in sys.path:
        place = Path(folder or ".").resolve()
        library = place in LIBRARIES or place.name in LIBRARY_NAMES
        if path := _file(Path(folder or ".") / relative):
            return None if library and module.partition(".")[0] != package else path
    return _editable(module.split("."))


def _file(place: Path) -> Path | None:
    """The source of the module or package that lies at a place, which has no suffix."""
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def _editable(names: list[str]) -> Path | None:
    """The source of a module as finders tell it that `pip install --editable` adds to Python's own: where a package is.

    Other finders, such as setuptools' of distutils, know libraries.
    """
    for length in range(1, len(names) + 1):
        for finder in sys.meta_path:
            spec = None if finder in PYTHONS_OWN else finder.find_spec(".".join(names[:length]), None)
            if spec is None or spec.origin is None or set(Path(spec.origin).parts) & set(LIBRARY_NAMES):
                continue
            if length == len(names):
                return Path(spec.origin) if spec.origin.endswith(".py") else None
            within = [Path(place, *names[length:]) for place in spec.submodule_search_locations or ()]
            return next(filter(None, map(_file, within)), None)
    return None


@functools.cache
def _outline(module: str, package: str) -> tuple[str, tuple[str, ...]]:
    """The syntax tree as text, and the modules that it imports, with the packages that they are in."""
    source = _source(module, package)
    assert source is not None
    try:
        tree = ast.parse(source.read_bytes())
    except SyntaxError as error:
        raise UserError(
            f"{source}, line {error.lineno}: not valid Python ({error.msg}); mend it and run again"
        ) from None
    if module in FORMAT_ALONE:
        (number,) = (
            ast.dump(node) for node in tree.body if isinstance(node, ast.Assign) and _names(node) == ["FORMAT"]
        )
        return number, ()
    if module == "surroscope":  # where names for readers are that were added later: nothing that a stage runs
        tree.body = [node for node in tree.body if not isinstance(node, ast.AugAssign)]
    parent = module if source.name == "__init__.py" else module.rpartition(".")[0]
    imported: set[str] = {module}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                ancestors = parent.split(".")[: len(parent.split(".")) - node.level + 1]
                base = ".".join([*ancestors, *([base] if base else [])])
            imported.add(base)
            imported.update(f"{base}.{alias.name}" for alias in node.names)
        _drop_docstring(node)
    parts = [name.split(".") for name in imported]
    names = {".".join(words[:length]) for words in parts for length in range(1, len(words) + 1)}
    return ast.dump(tree), tuple(sorted(names - {module, ""}))


def _names(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def _drop_docstring(node: ast.AST) -> None:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        node.body = node.body[1:]
