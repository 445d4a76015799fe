"""Draw how influence narrows as the one-step error falls, over every checkpoint of finished studies.

Without arguments of every study in results/; with folders results/STUDY of those. It writes results/signature.png,
.pdf and .csv and says, for each network, how influence, what the network shares and what is left to learn go with the
error.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from surroscope.errors import UserError
from surroscope.plots import style
from surroscope.plots.signature import signature
from surroscope.report.draw import check
from surroscope.report.spec import Columns
from surroscope.results import read_table, recorded
from surroscope.runtime import cli, provenance, store
from surroscope.tables.signature import CORRELATED, FEWEST, LAGS, TAKEN, correlations, gathered, theirs
from surroscope.tools.verify import RESULTS

DRAWN = RESULTS / "signature"
NUMBERS = ("validation", "persistence", *LAGS, *TAKEN)
EXPECTED = Columns(("model",), ("seed", "epoch"), NUMBERS, infinite=NUMBERS, missing=NUMBERS)


def tables(folders: tuple[Path, ...]) -> dict[tuple[str, str], pd.DataFrame]:
    """(study, system) -> its table `checkpoints`, of those that have what is drawn; the others are named.

    A study is called as its folder is, by its whole path where two are called the same. Raises UserError where a study
    is not finished or has no table that can be drawn, and DamagedStoreError where one is not what was written.
    """
    found: dict[tuple[str, str], pd.DataFrame] = {}
    names = [folder.resolve().name for folder in folders]
    for folder, name in zip(folders, names, strict=True):
        label = name if names.count(name) == 1 else str(folder)
        for system in recorded(folder)["config"]["systems"]:
            try:
                table = read_table(folder, system, "checkpoints")
                check(table, "checkpoints", EXPECTED)
                placed = table[np.isfinite(table["validation"]) & (table["validation"] > 0)]
                if placed.empty:
                    raise ValueError("no checkpoint has a validation error above zero")
            except store.DamagedStoreError:
                raise
            except (UserError, ValueError) as error:
                print(f"{folder}, {system}: left out: {error}", file=sys.stderr)
                continue
            if rest := len(table) - len(placed):
                print(f"{folder}, {system}: left out: {rest} checkpoints without a validation error", file=sys.stderr)
            found[label, system] = placed
    if not found:
        raise UserError(
            f"{', '.join(map(str, folders))}: no table `checkpoints` that can be drawn; finish a study by this version"
        )
    return found


def trend(table: pd.DataFrame) -> str:
    """The rank correlations of every network, a line each."""
    lines = [
        "rank correlation (Spearman) of -log(validation SMSE / persistence), which rises as the error falls, with each "
        "measure, over the trained checkpoints of a network:"
    ]
    found = correlations(table)
    for (study, system, model), row in found.set_index(["study", "system", "model"]).iterrows():
        said = [
            f"{words} {style.number(row[name], '.2f')}" for name, words in CORRELATED.items() if pd.notna(row[name])
        ]
        few = f"none, since fewer than {FEWEST} differ"
        lines.append(f"  {study}, {system} {model}, {row['n_points']:g} checkpoints: {', '.join(said) or few}")
    return "\n".join(lines)


def main(*studies: Path) -> None:
    folders = studies or tuple(sorted(path.parent for path in RESULTS.glob(f"*/{provenance.FILE}")))
    if not folders:
        raise UserError(f"{RESULTS}: holds no finished study; run one first")
    table = gathered(tables(folders))
    published = theirs(table["system"].unique())
    DRAWN.parent.mkdir(exist_ok=True)
    whole = pd.concat([table, published], ignore_index=True).astype({"seed": "Int64", "epoch": "Int64"})
    whole.to_csv(DRAWN.with_suffix(".csv"), index=False)
    files = [DRAWN.with_suffix(suffix) for suffix in (".png", ".pdf")]
    with style.styled():
        figure = signature(table, published, style.Options())
    style.save(figure, files, style.Options().dpi)
    print(trend(table))
    print(f"wrote {', '.join(map(str, files))} and {DRAWN.with_suffix('.csv')}")


if __name__ == "__main__":
    cli.tool(main, studies="folders results/STUDY [every finished study]")
