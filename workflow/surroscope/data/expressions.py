"""Channels as arithmetic of what files hold: "density", "velocity[0]", "density * velocity[0]", "p / 0.4 + E"."""

import ast
import operator
from collections.abc import Callable
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


def names(expression: str) -> set[str]:
    """The names that an expression reads. Raises UserError if it is none, or reads nothing; nothing is computed."""
    refusal = UserError(
        f"{expression!r} is no expression of variables; expected names, components such as velocity[0], numbers, "
        "+ - * / ** and parentheses"
    )
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError):
        raise refusal from None
    read = set()
    for node in ast.walk(tree.body):
        match node:
            case ast.Name(id=name):
                read.add(name)
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                pass
            case ast.Subscript(value=ast.Name(), slice=ast.Constant(value=int())):
                pass
            case ast.UnaryOp() | ast.USub() | ast.BinOp() | ast.Load():
                pass
            case _ if type(node) not in OPERATORS:
                raise refusal
    if not read:
        raise UserError(f"{expression!r} reads no variable; expected at least one")
    return read


def evaluate(expression: str, read: Callable[[str, int | None], Any]) -> Any:
    """The value of an expression, in floating point; nothing of it is run as Python.

    read: gives the value of a name, or of one of its components
    Raises UserError for what is no expression, for numbers in it that cannot be computed, and for complex values.
    """
    names(expression)

    def value(node: ast.AST) -> Any:
        match node:
            case ast.Constant(value=number):
                return float(number)  # type: ignore[arg-type]
            case ast.Name(id=name):
                return read(name, None)
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=component)):
                return read(name, component)  # type: ignore[arg-type]
            case ast.UnaryOp(operand=operand):
                return -value(operand)
            case ast.BinOp(left=left, op=op, right=right):
                return OPERATORS[type(op)](value(left), value(right))
        raise AssertionError(node)

    try:
        result = value(ast.parse(expression.strip(), mode="eval").body)
    except (ArithmeticError, RecursionError) as error:
        raise UserError(f"{expression!r} cannot be computed: {error}") from None
    # A negative number to a broken power, such as (-8)**(1/3).
    if np.iscomplexobj(result):
        raise UserError(
            f"{expression!r} gives complex numbers, expected real ones; mend its powers of negative numbers"
        )
    return result
