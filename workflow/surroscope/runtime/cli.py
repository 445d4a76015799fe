"""The command line of every stage, from its signature: settings as JSON, inputs and outputs, errors in one line."""

import argparse
import contextlib
import fcntl
import inspect
import json
import os
import re
import signal
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, get_args, get_origin, get_type_hints

import psutil
from pydantic import BaseModel, ValidationError

from surroscope.errors import UserError
from surroscope.runtime import configuration, disk, fingerprint, launch, store
from surroscope.runtime import provenance as origin
from surroscope.runtime.claims import StaleWriterError, claimed, wait_for_writers
from surroscope.runtime.environment import working_folder_last

VERSIONED = ("surroscope", "torch", "numpy", "xarray", "zarr", "dask", "pandas", "matplotlib")


Model = TypeVar("Model", bound=BaseModel)
# Of a stage's parameter: what it writes is the job's from its start on, and no older job's.
WRITTEN = "written"
Output = Annotated[Path, WRITTEN]
Outputs = Annotated[list[Path], WRITTEN]
# And what need not be a stage's: the user's own, what is kept on the way, what may have been removed meanwhile.
FOREIGN = "foreign"
Foreign = Annotated[Path, FOREIGN]
Foreigns = Annotated[list[Path], FOREIGN]
# And of these the user's own files.
OWN = "own"
Owns = Annotated[list[Path], FOREIGN, OWN]


def run(stage: Callable[..., None], *modules: str) -> None:
    """Call a stage with what the command line says; a UserError ends in one line and exit code 1.

    modules: those that it runs by name, beside what its settings name. What it reads is checked against what is
    recorded of it, and what it writes is recorded to be made by its settings, code and inputs.

    Its module's docstring is the help text. Each of its parameters is an option, by its annotation:
    a pydantic model: its fields as JSON, or the path of a YAML or JSON file; Path, int, str: one value;
    list[Path]: one or more; Sequence[Path] with a default: any number; with a default it may be left out
    """
    working_folder_last()
    hints = get_type_hints(stage, include_extras=True)
    parameters = inspect.signature(stage).parameters
    models = {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, BaseModel)}
    fields = "\n".join(
        f"  {name}: {_spell(field.annotation)}" for name, field in models["settings"].model_fields.items()
    )
    parser = argparse.ArgumentParser(
        description=f"{sys.modules[stage.__module__].__doc__ or ''}\nsettings: {models['settings'].__doc__}\n{fields}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="`snakemake -n -p` prints the whole command of every job that is to run.",
    )
    for name, parameter in parameters.items():
        _add_option(parser, name, hints[name], parameter.default)
    parser.add_argument("--made-by", help="hash of the settings and code that have to have made the data [any]")
    arguments = vars(parser.parse_args())
    made_by = arguments.pop("made_by")
    # Clusters end a job so: as an exception, it takes what is half-written along.
    signal.signal(signal.SIGTERM, _end)
    _end_by_key()
    launch.end_with_parent()
    _share_log()
    outputs, foreign, own = (_marked(mark, hints, arguments) for mark in (WRITTEN, FOREIGN, OWN))
    read = [path for path in _paths(arguments.values()) if path not in {*outputs, *foreign}]
    try:
        loaded = {name: load(model, arguments[name], f"--{name}") for name, model in models.items()}
        # Of processes that work together the first one writes.
        with claimed(outputs if os.environ.get("RANK", "0") == "0" else ()):
            if made_by:
                origin.require_made_by(arguments.get("stores") or arguments["data"], made_by)
            made = provenance(_name(stage), loaded["settings"], *modules) | {
                "inputs": origin.inputs(read, foreign, own)
            }
            with store.recording(made), disk.unhidden():
                stage(**arguments | loaded)
    except StaleWriterError as error:
        print(f"refused: {error}", file=sys.stderr, flush=True)
        if "SLURM_JOB_ID" in os.environ:
            _withdraw()
        wait_for_writers(outputs)
        if not all(origin.same(made, store.made(path)) for path in outputs):
            sys.exit(1)
        print("what that one wrote is what this one was to write, and is taken", file=sys.stderr)
    except UserError as error:
        sys.exit(f"error: {error}")
    except FileNotFoundError as error:
        sys.exit(f"error: {error.filename}: no such file or folder; make it with the stage before this one")
    except OSError as error:
        _end_if_full(error)
        raise


def _add_option(parser: argparse.ArgumentParser, name: str, hint: Any, default: Any) -> None:
    required = default is inspect.Parameter.empty
    kind = hint.__origin__ if {WRITTEN, FOREIGN} & set(get_args(hint)[1:]) else hint
    many = get_origin(kind) in (list, Sequence)
    options: dict[str, Any] = {"required": True} if required else {"default": default}
    if many or not required:
        options["nargs"] = "?" if not many else "+" if required else "*"
    convert = int if kind is int else Path if Path in (kind, *get_args(kind)) else str
    what = "is written" if WRITTEN in get_args(hint) else "is read" if convert is Path else f"default: {default}"
    if convert is str and required:
        what = "JSON, or the path of a YAML or JSON file"
    parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=convert, help=what, **options)


def _marked(mark: str, hints: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[Path]:
    return _paths(arguments[name] for name, hint in hints.items() if mark in get_args(hint))


def _paths(values: Iterable[Any]) -> list[Path]:
    """Those among the values, and in lists of them."""
    listed = (value if isinstance(value, list | tuple) else [value] for value in values)
    return [path for paths in listed for path in paths if isinstance(path, Path)]


def _name(stage: Callable[..., None]) -> str:
    """Of its module, which may be the one that runs, without the package that all are in."""
    spec = sys.modules[stage.__module__].__spec__
    return (spec.name if spec else stage.__module__).removeprefix("surroscope.stages.")


def _end(number: int, _: object) -> NoReturn:
    # A second one, from a parent that ended too, would end the clearing up.
    signal.signal(number, signal.SIG_IGN)
    sys.exit(f"error: ended by {signal.Signals(number).name}; nothing half-written is kept")


def _end_by_key() -> None:
    """End by Ctrl-C in one line, too, unless this runs in the background, where a shell has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def _end_if_full(error: OSError) -> None:
    if error.errno in disk.FULL:
        sys.exit(
            f"error: {error.filename or 'disk'}: no space is left; nothing half-written is kept, so make room and run"
        )


def _share_log() -> None:
    """Have what is written to a log go to its end: a job that writes the same log, of the same results, may have begun
    it anew, and neither is to write over what the other says."""
    if stat.S_ISREG(os.fstat(2).st_mode):
        fcntl.fcntl(2, fcntl.F_SETFL, fcntl.fcntl(2, fcntl.F_GETFL) | os.O_APPEND)


def _withdraw() -> NoReturn:
    """End so that nobody takes this job's results for those of the one that replaced it.

    The Snakemakes within a SLURM job delete what a failed job was to write, and renew the time of what a successful
    one wrote. Both are the other job's files by now, so they go first, the outer one before the inner.
    """
    for process in sorted(psutil.process_iter(), key=lambda process: process.create_time()):
        with contextlib.suppress(psutil.Error):
            own = process.environ().get("SLURM_JOB_ID") == os.environ["SLURM_JOB_ID"]
            if own and any("snakemake" in word for word in process.cmdline()):
                process.kill()
    sys.exit(1)


def load(model: type[Model], text: str, source: str = "--settings") -> Model:
    """A pydantic model from JSON text or from a file. Raises UserError naming each wrong, unknown or missing key."""
    if not text.lstrip().startswith("{"):
        if not Path(text).is_file():
            raise UserError(f"{source}: found {text!r}, expected JSON or the path of an existing file")
        source = text
        text = Path(text).read_text()
    content = configuration.parsed(text, source)
    if not isinstance(content, dict):
        raise UserError(f"{source}: found {content!r}, expected keys and values")
    known = set(model.model_fields)
    if unknown := set(content) - known:
        raise UserError(f"{source}: unknown key {sorted(unknown)[0]!r}; known keys are {', '.join(sorted(known))}")
    try:
        return model.model_validate_json(json.dumps(content))
    except TypeError as error:  # dates and bytes of YAML
        raise UserError(f"{source}: {error}; put it in quotes") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(f"{source}: {key}: {first['msg']} (found {first['input']!r})") from None


def provenance(stage: str, settings: BaseModel, *modules: str) -> dict[str, Any]:
    """What made a result: settings, fingerprint of the code, versions of the libraries. modules: as of `run`"""
    versions = {}
    for name in VERSIONED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    read = settings.model_dump(mode="json")
    return {
        "settings": read,
        "code": fingerprint.of_stage(stage, read, *modules),
        "versions": versions,
    }


def _spell(annotation: Any) -> str:
    spelled = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return re.sub(r"\b(?:\w+\.)+(?=\w)", "", spelled)


def tool(call: Callable[..., object], **texts: str) -> None:
    """Call a tool with what its command line says; a UserError ends it in one line and exit code 1.

    The command line follows from the signature: a parameter is a path, a keyword an option, and one that is False by
    default is a switch; *name takes any number of paths. Its help is the docstring of the module, and of each parameter
    `texts`, or else its default.
    """
    working_folder_last()

    def path(text: str) -> Path:
        return Path(text).expanduser()

    parser = argparse.ArgumentParser(
        description=sys.modules[call.__module__].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parameters = inspect.signature(call).parameters
    several = [name for name, parameter in parameters.items() if parameter.kind is parameter.VAR_POSITIONAL]
    for name, parameter in parameters.items():
        text, default = texts.get(name, "[%(default)s]"), parameter.default
        if parameter.kind is parameter.VAR_POSITIONAL:
            parser.add_argument(name, type=path, nargs="*", help=text)
        elif parameter.kind is not parameter.KEYWORD_ONLY:
            parser.add_argument(name, type=path, nargs="?", default=default, help=text)
        elif default is False:
            parser.add_argument(f"--{name}", action="store_true", help=text)
        else:
            parser.add_argument(f"--{name}", type=type(default), default=default, help=text)
    _end_by_key()
    try:
        with disk.unhidden():
            arguments = vars(parser.parse_args())
            call(*[each for name in several for each in arguments.pop(name)], **arguments)
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        _end_if_full(error)
        raise
