"""Write the main numbers of finished studies into the package, which other runs of their settings are held against.

Give their configurations; what was there of other settings is kept.
"""

import json
from pathlib import Path

import pandas as pd

from surroscope.errors import UserError
from surroscope.report.shipped import FILE, key
from surroscope.results import read_table, recorded
from surroscope.runtime import cli
from surroscope.tools.verify import RESULTS, configured

COLUMNS = ["key", "study", "system", "model", "name", "value", "low", "high"]


def main(*configurations: Path) -> None:
    if not configurations:
        raise UserError("found no configuration, expected those of finished studies that ship, such as config.yaml")
    parts = [pd.read_csv(FILE, dtype={"key": str})] if FILE.is_file() else []
    for path in configurations:
        study = configured(path)
        folder = RESULTS / study.study
        recorded(folder)
        config = json.loads(study.model_dump_json(exclude_none=True, exclude={"dask"}))
        for system in config["systems"]:
            table = read_table(folder, system, "scalars").dropna(subset=["low", "high"])
            table = table[table["model"].isin(config["systems"][system]["models"])]
            parts.append(table.assign(key=key(config, system), study=config["study"], system=system)[COLUMNS])
    whole = pd.concat(parts, ignore_index=True).drop_duplicates(COLUMNS[:5], keep="last")
    whole.to_csv(FILE, index=False, float_format="%.6g")
    print(f"wrote {FILE}: {len(whole)} numbers of {', '.join(dict.fromkeys(whole['study']))}")


if __name__ == "__main__":
    cli.tool(main, configurations="files, such as config.yaml")
