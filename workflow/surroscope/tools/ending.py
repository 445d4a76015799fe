"""What a run says once its report is written: each network's verdict, whether it is settled, and the cost."""

import json
from collections.abc import Iterable
from pathlib import Path

from surroscope.report.words import settled
from surroscope.runtime import cost
from surroscope.tools.schedule import brief


def verdicts(results: Path) -> list[str]:
    """Of every network of a study what it learned, and a line on whether more seeds or batches may change that."""
    lines = []
    for path in sorted(results.glob("*/tables/verdict.json")):
        for model, verdict in json.loads(path.read_text(encoding="utf-8")).items():
            lines.append(f"{path.parts[-3]}, {model}: {verdict['answer']}")
            lines.append(f"  {settled(verdict)}")
    return lines


def took(places: Iterable[Path], seconds: float) -> str:
    """What this run and all jobs of a study took. places: as of `cost.by_stage`"""
    stages = cost.by_stage(places)
    gpu = sum(stage.gpu_hours or 0.0 for stage in stages)
    spent = f"{sum(stage.core_hours for stage in stages):.3g} core-hours" + f", {gpu:.3g} GPU-hours" * bool(gpu)
    return f"this run: {brief(seconds)}; all jobs of the study: {spent}"
