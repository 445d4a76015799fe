"""A hash of the code that a stage runs, so that only stages whose code changed run again.

The hash covers the module itself and, transitively, every module of the same top-level package that it
imports. It is taken from the syntax tree without docstrings: comments, formatting and documentation do
not change it. Nothing is imported, so this is safe and quick inside a Snakefile.
"""

import ast
import functools
import hashlib
import sys
from pathlib import Path

from surroscope.errors import UserError


def of_code(*modules: str) -> str:
    """Fingerprint (16 hexadecimal digits) of the modules, named with dots, and all that they import.

    Raises UserError if a module has no source file on the Python path or does not parse.
    """
    closure: set[str] = set()
    for module in modules:
        if _source(module) is None:
            raise UserError(
                f"module {module!r}: no source file on the Python path; expected an importable module such as "
                "'mypackage.networks'. Install the package, or put its folder on PYTHONPATH"
            )
        _collect(module, closure)
    digest = hashlib.sha256()
    for module in sorted(closure):
        digest.update(module.encode())
        digest.update(_outline(module)[0].encode())
    return digest.hexdigest()[:16]


def _collect(module: str, closure: set[str]) -> None:
    if module in closure or _source(module) is None:
        return
    closure.add(module)
    for imported in _outline(module)[1]:
        _collect(imported, closure)


@functools.cache
def _source(module: str) -> Path | None:
    relative = Path(*module.split("."))
    for folder in sys.path:
        for candidate in (relative.with_suffix(".py"), relative / "__init__.py"):
            path = Path(folder or ".") / candidate
            if path.is_file():
                return path
    return None


@functools.cache
def _outline(module: str) -> tuple[str, tuple[str, ...]]:
    """The syntax tree as text, and the modules of the same top-level package that it imports."""
    source = _source(module)
    assert source is not None
    try:
        tree = ast.parse(source.read_text())
    except SyntaxError as error:
        raise UserError(
            f"{source}, line {error.lineno}: not valid Python ({error.msg}); mend it and run again"
        ) from None
    package = module.partition(".")[0]
    parent = module if source.name == "__init__.py" else module.rpartition(".")[0]
    imported: set[str] = {package}
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
    own = sorted(name for name in imported if name.partition(".")[0] == package and name != module)
    return ast.dump(tree), tuple(own)


def _drop_docstring(node: ast.AST) -> None:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        node.body = node.body[1:]
