"""What is wrong with a configuration, a line for each key."""

import re
from typing import Any

from pydantic import BaseModel

PLAIN = {
    "list_type": "expected a list",
    "string_type": "expected text; put it in quotes",
    "tuple_type": "expected a list of lists, each [class, time, class, time]",
    "string_pattern_mismatch": "expected letters, digits, '_', '-' and '.', a letter or digit first",
}


def line(source: str, error: Any) -> str:
    """An error of pydantic as one line: file, key, what was found, what to do."""
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{source}: {key}: unknown key; remove it or mend its spelling (config.yaml comments every key)"
    if error["type"] == "missing":
        return f"{source}: {key}: missing; add it (config.yaml comments every key)"
    message = error["msg"].removeprefix("Value error, ")
    value = error["input"]
    message = PLAIN.get(error["type"], message)
    if error["type"] == "float_type" and isinstance(value, str) and re.fullmatch(r"[-+]?\d+e[-+]?\d+", value):
        message = f"YAML reads it as text; write it with a point, {value.replace('e', '.0e')}"
    found = f"found {shown(value)}; " if not isinstance(value, dict | BaseModel) else ""
    return ": ".join(part for part in (source, key, found + message) if part)


def shown(value: Any) -> str:
    """A value as Python writes it, or its beginning."""
    if isinstance(value, int) and value.bit_length() > 2**10:
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
