"""What a study did, in sentences: its configuration as the methods section of its report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from surroscope.config.networks import Model, Training
from surroscope.config.study import Study
from surroscope.influence.normalize import UNITS
from surroscope.influence.solvers import SOLVERS

SOURCES = {
    "simulation": "solved by the embedded solver on {fine} cells and stored on {cells}, from initial conditions of the "
    "{preset} ranges",
    "pdegym": "the published trajectories, averaged to {cells} cells where they are finer",
    "files": "read from files of the {format} kind, averaged to {cells} cells where they are finer",
}
SPANS = {
    "perturbation": "the gradients that are stepped on",
    "joint": "the gradients that are stepped on and of those that respond",
}
PARTS = {
    "sensitivity": "Sensitivity: the same for other dampings, for other quantities and without the rank cut, of "
    "{seeds}, probe batches a seed: {probes}.",
    "cross": "Attribution and leverage: influence in the joint span of several batches, training: {train}, test: "
    "{test}, with one in {every} of their transitions, of {seeds}.",
    "fidelity": "Real steps: from the trained weights, of the kinds {kinds}, on one in {every} transitions of every "
    "class, of {seeds}, probe batches a seed: {probes}; what they did to every error is set against what influence "
    "predicts.",
    "leads": "Lead times: influence between all starts and lead times of {steps} snapshots, within the span of the "
    "gradients, of networks that are told how far to predict, of {seeds}, probe batches a seed: {probes}.",
    "remedies": "Remedies: all networks of a system against {baseline}, paired by seed, trajectory, class and start; "
    "rollouts of {steps} steps, medians of paired ratios of errors. Foresight: rank correlation over the networks of a "
    "number at an early epoch with that ratio after the last.",
    "retraining": "Retraining: networks trained again without each group, a class and a window of {window} times, "
    "without whole classes and windows, and on random halves of the groups, {subsets} of them, from the same initial "
    "weights, with the same batches, as many steps and the losses of what is left out taken as zero, of {seeds}.",
    "maps": "Response maps: the change of a prediction, cell by cell, after a step on another transition, of {seeds}.",
}
LEAKAGE = {
    True: "probe trajectories were held out from its training, as the configuration says",
    False: "what it was trained on is not known here, so that probe trajectories may have been trained on",
}


def sections(study: Study) -> dict[str, list[str]]:
    """Heading -> sentences of each part of the methods."""
    return {
        "Data": list(data(study)),
        "Networks and training": list(training(study)),
        "Influence": list(influence(study)),
        "Rollouts and symmetries": list(forward(study)),
        "Statistics": list(statistics(study)),
    }


def data(study: Study) -> Iterator[str]:
    rows, columns = study.data.grid
    finer = study.data.refinement
    made = SOURCES[study.data.source].format(
        fine=f"{finer * rows} × {finer * columns}",
        cells=f"{rows} × {columns}",
        preset=study.data.preset,
        format=study.data.format,
    )
    for name in study.systems:
        system, classes = study.system(name), study.classes(name)
        yield (
            f"{system.title[:1].upper()}{system.title[1:]} ({name}), {', '.join(system.channels)}: "
            f"{study.systems[name].trajectories} trajectories of each of the classes {listed(classes)}, "
            f"{study.data.snapshots} snapshots each; {made}."
        )
    split = study.split
    if split.listed() is not None:
        yield (
            f"What networks were trained on is known (split.trained). Of the other trajectories each seed draws "
            f"{split.validation:.0%} of every class's to validate; the rest test."
        )
        return
    yield (
        f"Each seed draws its own split of every class's trajectories: {split.train:.0%} to train on, "
        f"{split.validation:.0%} to validate, {split.test:.0%} to test."
    )


def training(study: Study) -> Iterator[str]:
    for name, system in study.systems.items():
        for label, model in system.models.items():
            if model.weights:
                yield (
                    f"{label} on {name}: {model.factory}{options(model.made_with)}, trained elsewhere, with the "
                    f"weights of {model.weights.files}{called(model)}; {LEAKAGE[bool(study.held_out(model))]}; probed "
                    f"after epoch "
                    f"{listed(model.probe_epochs)}."
                )
            if rule := model.training:
                yield (
                    f"{label} on {name}: {model.factory}{options(model.options)}{called(model)}; {rule.epochs} epochs "
                    f"of AdamW, "
                    f"learning rate {rule.learning_rate:g}, weight decay {rule.weight_decay:g}, {rule.batch} "
                    f"transitions a step, {rule.precision}{more(rule)}; probed after epoch "
                    f"{listed(model.probe_epochs)}{' (0: as initialised)' if 0 in model.probe_epochs else ''}."
                )
    if not any(model.training for system in study.systems.values() for model in system.models.values()):
        yield f"Splits, which tell probe trajectories, are drawn by {seeds(study.seeds)}."
        return
    unless = any(
        model.training and model.training.strategy
        for system in study.systems.values()
        for model in system.models.values()
    )
    yield (
        f"The loss is{', where no other is named,' * unless} the SMSE of one step, the mean over channels c and cells "
        f"of (ŷ − y)² / (RMS_c(y) + 10⁻⁶), over the transitions between snapshots 0 and {study.probe.snapshots - 1}."
    )
    if held := study.split.held_out:
        times = [f"transitions from times {held.times[0]} to {held.times[1]}"] if held.times else []
        yield (
            f"Nothing was trained or validated on of {listed([*held.classes, *times])}, at as many steps as if it had "
            "been; it is probed and rolled out like the rest."
        )
    yield f"Trained with {seeds(study.seeds)}: a seed fixes a split, initial weights and an order of batches."


def more(rule: Training) -> str:
    """What else a training does."""
    told = {
        "compiled": rule.compile,
        f"a budget of {rule.budget or 0:g} forwards in equal parts": rule.budget,
        f"gradients clipped to a norm of {rule.clip or 0:g}": rule.clip,
        f"warm-up over {rule.warmup:.0%}": rule.warmup,
        "a cosine of the learning rate to 0": rule.schedule == "cosine",
        f"the moving average of the weights of decay {rule.average or 0:g}": rule.average,
    }
    if rule.strategy:
        told[f"by {rule.strategy.factory}{options(rule.strategy.options)}"] = True
    return "".join(f", {text}" for text, asked in told.items() if asked)


def called(model: Model) -> str:
    """How a network is called, where it is not from states to states."""
    return (
        f", called with {options(told)}"
        if model.call and (told := model.call.model_dump(exclude_defaults=True))
        else ""
    )


def influence(study: Study) -> Iterator[str]:
    rule, probe = study.influence, study.probe
    yield (
        f"A probe batch is one test trajectory of every class, all its {probe.snapshots - 1} transitions; batches "
        f"for each seed: {probe.batches}."
    )
    if max(map(study.history, study.systems)) > 1:
        counted = "counts them" if rule.shared_lags == "count" else "leaves them out"
        yield (
            "Of a network that is given T snapshots transitions start from snapshot T − 1 on. Two of a trajectory less "
            f"than T steps apart share snapshots; the half-life {counted}."
        )
    yield (
        "H = g_jᵀ η⁻¹ g_i is how much the error j falls per unit of a natural gradient step on the error of "
        "transition i: g are gradients of the network's parameters, η = JᵀJ / M is the metric of its Jacobian J over "
        "the M outputs of the batch."
    )
    scale = "" if rule.damping_scale == "absolute" else " times the largest eigenvalue in the span"
    how = SOLVERS[rule.solvers[0]].how.format(
        span=SPANS[rule.span],
        discarded_share=rule.discarded_share,
        damping=f"{rule.damping:g}{scale}",
        modes=rule.modes,
        tolerance=rule.tolerance,
    )
    yield f"Shown is {SOLVERS[rule.solvers[0]].title}: {how}."
    if others := [SOLVERS[name].title for name in rule.solvers[1:]]:
        yield f"Computed beside it, in each checkpoint's influence store: {listed(others)}."
    yield f"Figures show {UNITS['standard'][0]}, {UNITS['standard'][1]}; R and means of influence are not normalised."
    if rule.normalization != "standard":
        yield (
            "Influence between times, classes and distances, of an observable on itself, is shown as "
            f"{UNITS[rule.normalization][0]}, {UNITS[rule.normalization][1]}."
        )
    for name in study.systems:
        pairs = [f"{a} to a step on {b}" for a, b in study.systems[name].pairs]
        yield (
            f"What responds to steps on smse in {name}: {listed(study.observables_of(name))}"
            f"{'; also ' + listed(pairs) if pairs else ''}."
        )
    for part in ("sensitivity", "cross", "maps", "fidelity", "leads", "retraining"):
        if found := getattr(study, part):
            told = found.model_dump() | {"seeds": seeds(study.seeds_of(part))}
            several = {key: listed(told[key]) for key in ("kinds", "steps") if key in told}
            yield PARTS[part].format(**told | several)


def forward(study: Study) -> Iterator[str]:
    yield (
        "From every snapshot of the probe batches' trajectories the network is run on its own predictions to the last "
        "snapshot; persistence predicts no change. Drift is of rollouts from the first snapshot that they start from."
    )
    for name in study.systems:
        found = study.actions(name)
        if len(found) == 1:
            continue
        turns = [action for action in found if not action.startswith(("x", "y"))]
        shifts = [f"{len(found) - len(turns)} shifts by whole cells"] if len(found) > len(turns) else []
        yield (
            f"In {name}, one step is compared at a state and at its images under {listed([*turns[1:], *shifts])} (r: a "
            "quarter turn, s: a mirror image); vectors turn with the field."
        )
    if study.remedies:
        yield PARTS["remedies"].format(**study.remedies.model_dump())
    if study.symmetry:
        yield (
            "Influence on images is that of a step at the state itself, within the span of the gradients at the states "
            "themselves (what an image's gradient has beyond it is left out, whatever influence.span says), of "
            f"{seeds(study.seeds_of('symmetry'))}, probe batches a seed: {study.symmetry.probes}."
        )


def statistics(study: Study) -> Iterator[str]:
    yield (
        "Medians and quartiles are over all that is pooled: seeds, probe batches, and the pairs of transitions that a "
        "caption names."
    )
    yield (
        "Intervals are 95 % bootstrap intervals: seeds are drawn again with replacement, and of each its probe "
        "batches; entries of one matrix are not, since they depend on one another. Of 500 draws the percentile "
        "interval, widened about the estimate by √(S / (S − 1)) for S seeds; in the logarithm for numbers that are "
        "positive by definition, for correlations in Fisher's z. Differences between networks are of draws that both "
        "share. Correlations within classes are of values less the mean of their class."
    )


def listed(names: Sequence[Any]) -> str:
    """For example: a, b and c."""
    *most, last = map(str, names)
    return f"{', '.join(most)} and {last}" if most else last


def seeds(numbers: Sequence[int]) -> str:
    return f"seed{'s' * (len(numbers) > 1)} {listed(numbers)}"


def options(chosen: Mapping[str, Any]) -> str:
    return f" ({', '.join(f'{key} {value}' for key, value in chosen.items())})" if chosen else ""
