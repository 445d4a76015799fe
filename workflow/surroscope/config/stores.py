"""Which stores and files a study keeps beside its tables and figures, from its configuration alone."""

from surroscope.config.study import Study
from surroscope.influence.solvers import SOLVERS


def stores(study: Study) -> list[tuple[str, list[int], list[int]]]:
    """What a study keeps below results/{study}: a pattern of {seed} and {epoch}, its seeds, its epochs."""
    everywhere = ["grams", "influence", "coupling", "evaluation"]
    if any(SOLVERS[name].needs == "network" for name in study.influence.solvers):
        everywhere.append("full")
    if study.gradients.keep:
        everywhere += [f"gradients/shard{shard}" for shard in range(study.gradients.shards)]
    last = {part: study.seeds_of(part) for part in ("cross", "maps", "fidelity")}
    if study.sensitivity and study.sensitivity.full_dampings:
        last["full_sweep"] = study.seeds_of("sensitivity")
    found: list[tuple[str, list[int], list[int]]] = []
    for system, chosen in study.systems.items():
        found.append((f"{system}/splits/seed{{seed}}.json", study.seeds, [0]))
        images = {"orbits": study.seeds_of("symmetry")} if len(study.actions(system)) > 1 else {}
        for model, network in chosen.models.items():
            epochs, checkpoint = network.probe_epochs, f"{system}/{model}/seed{{seed}}"
            found.append((f"{checkpoint}/history.csv", study.seeds, epochs[-1:]))
            if network.weights:
                found.append((f"{checkpoint}/epoch{{epoch}}/weights", study.seeds, epochs))
            else:
                found.append((f"{checkpoint}/weights", study.seeds, epochs[-1:]))
            if study.gradients.method == "measured":
                found.append((f"{system}/{model}/linearization.json", study.seeds[:1], epochs[-1:]))
            if study.sensitivity:
                table = f"{checkpoint}/epoch{{epoch}}/sensitivity.csv"
                found.append((table, study.seeds_of("sensitivity"), epochs[-1:]))
            found += [(f"{checkpoint}/epoch{{epoch}}/{name}.zarr", study.seeds, epochs) for name in everywhere]
            told = {"leads": study.seeds_of("leads")} if model in study.told_leads(system) else {}
            for name, seeds in (last | images | told).items():
                found += [(f"{checkpoint}/epoch{{epoch}}/{name}.zarr", seeds, epochs[-1:])] * bool(seeds)
    return found
