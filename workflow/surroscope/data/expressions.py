"""Channels as arithmetic of what files hold: "density", "velocity[0]", "density * velocity[0]", "p / 0.4 + E".

A name that Python would not have is quoted, such as "train/2m-height"[0]; alone it need not be.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from surroscope.errors import UserError

OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
# A name alone, with the groups that it is in, where it is no arithmetic.
WORD = re.compile(r"[\w./-]+")


def whole(expression: str, has: Callable[[str], bool]) -> str:
    """The expression, or in quotes where it is the name of what there is as a whole: "a-b" is no difference then."""
    name = expression.strip()
    return repr(name) if has(name) else expression


def names(expression: str) -> set[str]:
    """The names that an expression reads. Raises UserError if it is none, or reads nothing; nothing is computed."""
    refusal = UserError(
        f"{expression!r} is no expression of variables; expected names, components such as velocity[0], numbers, "
        "+ - * / ** and parentheses; a name with other signs goes in quotes of its own, such as '\"wind speed\" * h'"
    )
    try:
        tree = _parsed(expression)
    except (SyntaxError, ValueError, RecursionError):
        raise refusal from None
    read = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Constant(value=str(name)):
                read.add(name)
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                pass
            case ast.Subscript(value=ast.Name() | ast.Constant(value=str()), slice=ast.Constant(value=int())):
                pass
            case ast.UnaryOp() | ast.USub() | ast.BinOp() | ast.Load():
                pass
            case _ if type(node) not in OPERATORS:
                raise refusal
    if not read:
        raise UserError(f"{expression!r} reads no variable; expected at least one")
    return read


def variables(channels: Mapping[str, str]) -> list[str]:
    """The variables of a file that channels are made of, in order."""
    return sorted(set().union(*map(names, channels.values())))


def read(texts: Iterable[str]) -> set[str]:
    """The names that expressions read, and each as a whole, which may be the name of what there is."""
    return {name for text in texts for name in (*names(text), text.strip())}


def evaluate(expression: str, read: Callable[[str, int | None], Any]) -> Any:
    """The value of an expression, in floating point; nothing of it is run as Python.

    read: gives the value of a name, or of one of its components
    Raises UserError for what is no expression, for numbers in it that cannot be computed, and for complex values.
    """
    names(expression)

    def value(node: ast.AST) -> Any:
        match node:
            case ast.Name(id=name) | ast.Constant(value=str(name)):
                return read(name, None)
            case ast.Constant(value=number):
                return float(number)  # type: ignore[arg-type]
            case ast.Subscript(
                value=ast.Name(id=name) | ast.Constant(value=str(name)), slice=ast.Constant(value=component)
            ):
                return read(name, component)  # type: ignore[arg-type]
            case ast.UnaryOp(operand=operand):
                return -value(operand)
            case ast.BinOp(left=left, op=op, right=right):
                return OPERATORS[type(op)](value(left), value(right))
        raise AssertionError(node)

    try:
        result = value(_parsed(expression))
    except (ArithmeticError, RecursionError) as error:
        raise UserError(f"{expression!r} cannot be computed: {error}") from None
    # A negative number to a broken power, such as (-8)**(1/3).
    if np.iscomplexobj(result):
        raise UserError(
            f"{expression!r} gives complex numbers, expected real ones; mend its powers of negative numbers"
        )
    return result


def _parsed(expression: str) -> ast.expr:
    """Raises what `ast.parse` does, but for one name, which may be one that Python does not have."""
    text = expression.strip()
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        if not WORD.fullmatch(text):
            raise
        return ast.Constant(text)
    return ast.Constant(text) if isinstance(tree, ast.Attribute) and WORD.fullmatch(text) else tree
