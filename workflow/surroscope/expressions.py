"""Channels as arithmetic of what files hold: "density", "velocity[0]", "density * velocity[0]", "p / 0.4 + E"."""

import ast
import operator
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from surroscope.errors import UserError

OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def evaluate(expression: str, read: Callable[[str, int | None], Any]) -> Any:
    """The value of an expression of names, components `name[0]`, numbers, + - * / ** and parentheses.

    read: gives the value of a name, or of one of its components
    Raises UserError for anything else; nothing of it is run as Python.
    """

    def value(node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return number
            case ast.Name(id=name):
                return read(name, None)
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=int() as component)):
                return read(name, component)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                return OPERATORS[type(op)](value(left), value(right))
        raise UserError(
            f"{expression!r} is no expression of variables; expected names, components such as velocity[0], numbers, "
            "+ - * / ** and parentheses"
        )

    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except SyntaxError:
        tree = ast.parse("None", mode="eval")
    return value(tree.body)


def names(expression: str) -> set[str]:
    """The names that an expression reads. Raises UserError if it is none."""
    found: set[str] = set()

    def note(name: str, component: int | None) -> float:
        found.add(name)
        return 1.0

    with suppress(ArithmeticError):  # of the ones in place of the fields
        evaluate(expression, note)
    return found
