"""Aggregate all seeds of one system -> tidy tables (CSV), every number that a figure shows, and the verdict."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import xarray as xr

from surroscope.config import jobs
from surroscope.diagnostics.scalars import Measured
from surroscope.runtime import cli, store
from surroscope.tables import (
    coupling,
    dial,
    fidelity,
    foresight,
    held_out,
    influence,
    leads,
    parts,
    remedies,
    retraining,
    rollouts,
    scalars,
)
from surroscope.tables.explorer import Explored, explored
from surroscope.tables.reading import read_csv

# These tables are of one kind of influence, the study's first solver's, and so say which.
OF_ONE_QUANTITY = ("histogram", "two_time_training", "rollout_correlation", "rollout_points", "checkpoints")


def stage(
    settings: jobs.Tables,
    *,
    influences: list[Path],
    couplings: list[Path],
    evaluations: list[Path],
    histories: list[Path],
    tables: cli.Outputs,
    verdict: cli.Output,
    explorer: cli.Output,
    sensitivities: Sequence[Path] = (),
    crosses: Sequence[Path] = (),
    maps: Sequence[Path] = (),
    fidelities: Sequence[Path] = (),
    told: Sequence[Path] = (),
    retrained: Sequence[Path] = (),
    foretold: Sequence[Path] = (),
) -> None:
    solved = [store.read(path).load() for path in influences]
    matrices = [dataset.isel(solver=0) for dataset in solved]
    kernels = [store.read(path) for path in couplings]
    flights = [store.read(path) for path in evaluations]
    history = pd.concat([read_csv(path) for path in histories], ignore_index=True)
    frames: dict[str, list[pd.DataFrame]] = {path.stem: [] for path in tables}
    numbers, verdicts, finals, arms, reached = {}, {}, [], {}, []
    seen: dict[str, Explored] = {}
    flown: dict[str, Sequence[xr.Dataset]] = {}
    for model in settings.models:
        epochs = sorted({m.attrs["epoch"] for m in matrices if m.attrs["model"] == model})
        by_epoch = {
            epoch: [(m, f.load()) for m, f in zip(matrices, flights, strict=True) if of(m) == of(f) == (model, epoch)]
            for epoch in epochs
        }
        shared = influence.first_of(by_epoch[epochs[-1]][0]) if settings.shared_lags == "leave out" else 0
        measured = {epoch: influence.measured(pairs, settings.system, shared) for epoch, pairs in by_epoch.items()}
        kernel = {
            epoch: {w: coupling.coupled(of_epoch, w, shared) for w in ("trained", "untrained")}
            for epoch in epochs
            if (of_epoch := [k.load() for k in kernels if of(k) == (model, epoch)])
        }
        last, errors = measured[epochs[-1]], history[history.model == model]
        finals.append(last)
        names = [str(name) for name in by_epoch[epochs[-1]][0][0]["response_class"].values]
        if settings.remedies:
            trained, held = {epoch: of["trained"][0] for epoch, of in kernel.items()}, map(names.index, settings.unseen)
            reached.append(foresight.towards(measured, trained, list(held)).assign(model=model))
            arms[model] = {
                epoch: remedies.flown([flight for _, flight in pairs], m.first, m.influence.shape[2])
                for (epoch, m), pairs in zip(measured.items(), by_epoch.values(), strict=True)
            }
        final, final_flights = zip(*by_epoch[epochs[-1]], strict=True)
        flown[model] = final_flights
        seen[model] = {
            epoch: (m, kernel[epoch]["trained"][0] if epoch in kernel else None) for epoch, m in measured.items()
        }
        kind = influence.kind(final)
        numbers[model] = scalars.sampled(
            last, errors, epochs[-1], kernel[epochs[-1]], measured.get(0) if epochs[-1] else None
        )
        if notice := scalars.notice(model, scalars.checks(last)["epsilon_share"]):
            print(notice, flush=True)
        of_model = (
            influence.of_model(final, settings.system, settings.normalization)
            | parts.resolved(final, last.seeds)
            | parts.images(final)
            | coupling.of_model(**kernel[epochs[-1]], m=last, classes=names, system=settings.system)
            | rollouts.of_model(final_flights, last)
            | {
                "training": rollouts.training(errors),
                "histogram": influence.histogram(last),
                "spectrum": influence.spectrum(measured),
                "two_time_training": influence.two_time_training(measured),
                "rollout_correlation": rollouts.rollout_correlation(
                    last, settings.system, settings.architectures.get(model, "")
                ),
                "rollout_points": rollouts.rollout_points(last, names),
                "checkpoints": scalars.checkpoints(measured, kernel, errors),
            }
        )
        if settings.without and model not in settings.held_out:
            of_model["held_out"] = held_out.of_model(last, kernel[epochs[-1]]["trained"][0], names, settings.without)
        for name in OF_ONE_QUANTITY:
            of_model[name].insert(0, "quantity", kind)
        for name, table in of_model.items():
            if name in frames:
                frames[name].append(labelled(table, model, last))
        likelier = errors[errors["epoch"] == epochs[-1]].reindex(columns=["likelier"])["likelier"].dropna()
        verdicts[model] = scalars.conclusion(
            *(numbers[model], last, kernel[epochs[-1]], names, settings.system),
            unseen=settings.unseen,
            likelier=next(iter(likelier), ""),
            held_out=settings.held_out.get(model),
            zero_shot=held_out.told(last, names, settings.without) if "held_out" in of_model else [],
        ) | {"influence": kind}
        places = scalars.plane(numbers[model], kernel[epochs[-1]], names).assign(label=verdicts[model]["label"])
        frames["verdict_plane"].append(labelled(places, model, last))
    frames["scalars"].append(scalars.main_numbers(numbers, settings.system, settings.architectures))
    idle = min(finals, key=lambda m: m.first)
    first = next(flight for flight in flights if flight.attrs["model"] == settings.models[0])
    frames["snapshots"].append(rollouts.snapshots(first))
    frames["rollout"].append(labelled(rollouts.rollout(idle.persistence, idle.seeds, idle.first), "persistence", idle))
    still = rollouts.rollout_error(idle.persistence, idle.seeds, idle.first, float("nan"))
    frames["rollout_error"].append(labelled(still, "persistence", idle))
    for name, table in parts.optional(sensitivities, crosses, maps).items():
        frames[name].append(table)
    if settings.shares and "dial" in frames:
        for name, table in dial.tables(solved, pd.concat(frames["checkpoints"]), settings.shares).items():
            frames[name].append(table)
    if settings.remedies:
        found, sentences = remedies.tables(
            *(arms, solved, pd.concat(frames["checkpoints"]).merge(pd.concat(reached)), history),
            settings.remedies.model_dump(),
            names=names,
            unseen=settings.unseen,
            planted=[model for model, shares in settings.shares.items() if min(shares.values()) < 1],
        )
        for name, table in found.items():
            frames[name].append(table)
        for model, sentence in sentences.items():
            verdicts[model]["details"] = [*verdicts[model]["details"], sentence]
    for model in settings.models:
        if of_leads := [d for path in told if (d := store.read(path).load()).attrs["model"] == model]:
            for name, table in leads.of_model(of_leads).items():
                frames[name].append(table)
    measured_steps = [store.read(path).load() for path in fidelities]
    for model in settings.models if measured_steps else ():
        of_model = fidelity.tables([d for d in measured_steps if d.attrs["model"] == model], settings.solver)
        for name, table in of_model.items():
            table.insert(0, "model", model)
            frames[name].append(table)
    trainings, crossed = ([store.read(path) for path in paths] for paths in (retrained, foretold))
    for model in settings.models:
        if of_bank := [d.load() for d in trainings if d.attrs["model"] == model]:
            whole = [d for d in crossed if d.attrs["model"] == model]
            of_kernel = [kernel for kernel in kernels if of(kernel) == of(whole[0])]
            for name, table in retraining.of_model(of_bank, whole, of_kernel).items():
                frames[name].append(table)
    with store.atomic(explorer) as temporary:
        shown = explored(seen, flown, names, [store.read(path).load() for path in maps])
        temporary.write_text(json.dumps(shown, separators=(",", ":"), allow_nan=False))
    for path in tables:
        with store.atomic(path) as temporary:
            # A system without symmetries has no images.
            table = pd.concat(frames[path.stem] or [pd.DataFrame(columns=["model"])], ignore_index=True)
            table.to_csv(temporary, index=False)
    with store.atomic(verdict) as temporary:
        temporary.write_text(json.dumps(verdicts, indent=1) + "\n")


def of(dataset: xr.Dataset) -> tuple[str, int]:
    return dataset.attrs["model"], dataset.attrs["epoch"]


def labelled(table: pd.DataFrame, model: str, m: Measured) -> pd.DataFrame:
    """The table with its model, and with n where it is of all seeds and does not say it itself."""
    if "median" in table:
        table = table.assign(**{name: n for name, n in m.counts.items() if name not in table})
    table.insert(0, "model", model)
    return table


if __name__ == "__main__":
    cli.run(stage)
