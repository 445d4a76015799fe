"""The command line that every stage has: settings as JSON, named inputs and outputs, errors in one line."""

import argparse
import contextlib
import dataclasses
import errno
import inspect
import json
import os
import signal
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import yaml
from pydantic import TypeAdapter, ValidationError

from surroscope.errors import UserError
from surroscope.runtime import fingerprint
from surroscope.runtime.store import StaleWriterError, claimed

VERSIONED = ("surroscope", "torch", "numpy", "xarray", "zarr", "dask", "pandas", "matplotlib")


@dataclasses.dataclass(frozen=True)
class Network:
    """Settings of every stage that builds a network."""

    system: str
    boundary: str
    model: str
    factory: str
    options: dict[str, Any]


def run(
    stage: Callable[..., None],
    settings_type: type,
    *,
    paths: tuple[str, ...] = (),
    lists: tuple[str, ...] = (),
    numbers: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    texts: tuple[str, ...] = (),
    parts: tuple[str, ...] = (),
    writes: tuple[str, ...] = (),
) -> None:
    """Parse the command line and call ``stage(settings, **paths)``; a UserError ends in one line and exit code 1.

    stage: the function to call; its module's docstring is the help text
    settings_type: dataclass of the settings
    paths: options that take one path; lists: one or more paths; numbers: a whole number, 1 by default;
    optional: a path that may be left out; texts: any text;
    parts: as many paths as there are, none by default;
    writes: which of the paths and lists are written; they are this job's from now on, and no older job's
    """
    documentation = sys.modules[stage.__module__].__doc__ or ""
    fields = "\n".join(f"  {field.name}: {_spell(field.type)}" for field in dataclasses.fields(settings_type))
    parser = argparse.ArgumentParser(
        description=f"{documentation}\nsettings:\n{fields}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--settings", required=True, help="the settings: JSON, or the path of a YAML or JSON file")
    for name in paths:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=Path, required=True)
    for name in lists:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=Path, required=True, nargs="+")
    for name in numbers:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=int, default=1)
    for name in optional:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=Path)
    for name in parts:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=Path, nargs="*", default=[])
    for name in texts:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, required=True)
    arguments = vars(parser.parse_args())
    # Clusters end a job so: as an exception, it takes what is half-written along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("error: ended by SIGTERM; nothing half-written is kept"))
    # Of processes that work together the first one writes.
    written = writes if os.environ.get("RANK", "0") == "0" else ()
    outputs = [path for name in written for path in _listed(arguments[name])]
    try:
        settings = load(settings_type, arguments.pop("settings"))
        with claimed(outputs):
            stage(settings, **arguments)
    except StaleWriterError as error:
        _withdraw(error)
    except UserError as error:
        sys.exit(f"error: {error}")
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename}: no such file or folder; make it with the stage before this one")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(
            f"error: {error.filename or 'disk'}: no space is left; nothing half-written is kept, so make room and run"
        )


def _listed(paths: Path | list[Path]) -> list[Path]:
    return paths if isinstance(paths, list) else [paths]


def _withdraw(error: StaleWriterError) -> None:
    """End so that nobody takes this job's results for those of the one that replaced it.

    The Snakemakes within a SLURM job delete what a failed job was to write, and renew the time of what a successful
    one wrote. Both are the other job's files by now, so they go first, the outer one before the inner.
    """
    print(f"refused: {error}", file=sys.stderr, flush=True)
    if job := os.environ.get("SLURM_JOB_ID"):
        for process in sorted(psutil.process_iter(), key=lambda process: process.create_time()):
            with contextlib.suppress(psutil.Error):
                own = process.environ().get("SLURM_JOB_ID") == job
                if own and any("snakemake" in word for word in process.cmdline()):
                    process.kill()
    sys.exit(1)


def load(settings_type: type, text: str, source: str = "--settings") -> Any:
    """Settings from JSON text or from a file. Raises UserError naming each wrong, unknown or missing key."""
    if not text.lstrip().startswith("{"):
        if not Path(text).is_file():
            raise UserError(f"{source}: found {text!r}, expected JSON or the path of an existing file")
        source = text
        text = Path(text).read_text()
    try:
        # YAML would read JSON's 1e-06 as text.
        content = json.loads(text)
    except ValueError:
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"{source}: neither JSON nor YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{source}: found {content!r}, expected keys and values")
    known = {field.name for field in dataclasses.fields(settings_type)}
    if unknown := set(content) - known:
        raise UserError(f"{source}: unknown key {sorted(unknown)[0]!r}; known keys are {', '.join(sorted(known))}")
    try:
        return TypeAdapter(settings_type).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{source}: {key}: {first['msg']} (found {first['input']!r})") from None


def provenance(stage: str, settings: Any, *modules: str) -> dict[str, Any]:
    """What made a result: settings, fingerprint of the stage's code and `modules`, versions of the libraries."""
    versions = {}
    for name in VERSIONED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "settings": dataclasses.asdict(settings),
        "code": fingerprint.of_code(f"surroscope.stages.{stage}", *modules),
        "versions": versions,
    }


def _spell(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def tool(call: Callable[..., object], **texts: str) -> None:
    """Call a tool with what its command line says; a UserError ends it in one line and exit code 1.

    The command line follows from the signature: a parameter is a path, a keyword an option, and one that is False by
    default is a switch. Its help is the docstring of the module, and of each parameter `texts`, or else its default.
    """
    parser = argparse.ArgumentParser(
        description=sys.modules[call.__module__].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, parameter in inspect.signature(call).parameters.items():
        text, default = texts.get(name, "[%(default)s]"), parameter.default
        if parameter.kind is not parameter.KEYWORD_ONLY:
            parser.add_argument(name, type=Path, nargs="?", default=default, help=text)
        elif default is False:
            parser.add_argument(f"--{name}", action="store_true", help=text)
        else:
            parser.add_argument(f"--{name}", type=type(default), default=default, help=text)
    try:
        call(**vars(parser.parse_args()))
    except UserError as error:
        sys.exit(f"error: {error}")
