"""Configurations and settings as text: JSON, or YAML of which nothing is dropped and nothing becomes something else."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from surroscope.errors import UserError

# Of YAML, in words.
KINDS = {
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
    "timestamp": "a date",
    "seq": "a list",
    "map": "keys and values",
}


def read(path: Path) -> Any:
    """What a file holds. Raises UserError, as `parsed` does, and if the file cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); expected YAML or JSON") from None
    return parsed(text, str(path))


def parsed(text: str, source: str) -> Any:
    """What text holds. Raises UserError, naming source, line and key, for what is neither JSON nor YAML, and for YAML
    that holds a key twice, a key that is no text, a date, or a number in base 8 or 60."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise UserError(f"{source}: key {key!r} stands twice, and only one would count; remove one of them")
            found[key] = value
        return found

    try:
        # YAML would read JSON's 1e-06 as text.
        return json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError):
        pass
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _require_plain(root, source)
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) if not isinstance(error, RecursionError) else "lists within lists"
        raise UserError(f"{source}: neither JSON nor YAML: {reason}") from None


def _require_plain(root: yaml.Node, source: str) -> None:
    waiting, seen = [root], set()  # an alias stands for a node that is there once
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        here, kind = f"{source}, line {node.start_mark.line + 1}", _kind(node)
        if isinstance(node, yaml.ScalarNode):
            if kind == "a date":
                raise UserError(f"{here}: {node.value} is read as {kind}; put it in quotes")
            if kind == "a number" and (other := re.match(r"[-+]?0[0-7_]+$|.*:", node.value)):
                base = 60 if ":" in other[0] else 8
                raise UserError(
                    f"{here}: {node.value} is read as {kind} in base {base}; write it without "
                    f"{'colons' if base == 60 else 'a leading zero'}, or put it in quotes"
                )
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in node.value]
            first: dict[str, int] = {}
            for key, _ in node.value:
                line = key.start_mark.line + 1
                if _kind(key) not in ("str", "merge"):
                    name = f"the key {key.value}" if isinstance(key, yaml.ScalarNode) else "a key"
                    raise UserError(
                        f"{source}, line {line}: {name} is read as {_kind(key)}, expected text; put it in quotes"
                    )
                if key.value in first:
                    raise UserError(
                        f"{source}, line {line}: key {key.value!r} stands twice, first in line {first[key.value]}, and "
                        "only one would count; remove one of them"
                    )
                first[key.value] = line


def _kind(node: yaml.Node) -> str:
    kind = node.tag.rpartition(":")[2]
    return KINDS.get(kind, kind)
