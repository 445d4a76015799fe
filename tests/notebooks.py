"""The code of notebooks, run cell by cell in one namespace, without Jupyter.

`python -m tests.notebooks FILE...` writes what the cells gave into the files; it is run where they find what they open,
with the folder of the project and its `workflow` on PYTHONPATH.
"""

import ast
import json
import sys
from base64 import b64encode
from contextlib import redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

DPI = 80


def run(notebook: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The outputs of every code cell, as notebooks hold them: what was printed, figures, the value of a last line."""
    matplotlib.use("agg")
    names: dict[str, Any] = {"__name__": "notebook"}
    return [outputs("".join(cell["source"]), names) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def outputs(code: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    body = ast.parse(code).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    with redirect_stdout(StringIO()) as printed:
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        value = None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    found: list[dict[str, Any]] = []
    if text := printed.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)})
    figures = [plt.figure(number) for number in plt.get_fignums()]
    if isinstance(value, Figure) and value not in figures:
        figures.append(value)
    for figure in figures:
        with BytesIO() as buffer:
            figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
            image = b64encode(buffer.getvalue()).decode("ascii")
        found.append({"output_type": "display_data", "data": {"image/png": image}, "metadata": {}})
    plt.close("all")
    if value is not None and not isinstance(value, Figure):
        text = repr(value).splitlines(keepends=True)
        found.append({"output_type": "execute_result", "data": {"text/plain": text}, "metadata": {}})
    return found


def write(path: Path) -> None:
    """Run a notebook and keep what its cells gave."""
    notebook = json.loads(path.read_text())
    given = iter(run(notebook))
    number = 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            number += 1
            cell["outputs"], cell["execution_count"] = next(given), number
            for output in cell["outputs"]:
                if output["output_type"] == "execute_result":
                    output["execution_count"] = number
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        write(Path(name))
