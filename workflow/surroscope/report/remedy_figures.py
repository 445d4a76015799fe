"""The figures of models that differ in how they are trained, and of what foretells which of them will do well."""

from surroscope.report.spec import Columns, FigureSpec, Question

FIGURES = {
    "remedies": FigureSpec(
        title="Ways of training against the baseline",
        question=Question.REMEDIES,
        table="remedies",
        columns=Columns(
            ("model", "outcome", "classes"),
            (),
            ("ratio", "low", "high", "blown_up", "rank", "steps", "baseline", "planted", "n_seeds", "n_trajectories"),
            infinite=("ratio",),
            single=("steps",),
        ),
        draw="surroscope.plots.remedies:outcomes",
        needs=("remedies",),
        caption="""
            Errors on {system} after training, of every network in units of those of the baseline (the line at 1), {n}:
            SMSE summed over a rollout, and of one step, on classes that were trained on and, where some were held
            out, on those. A point is the median of the ratios of pairs at the same seed, probe trajectory, class and
            start, with its 95 % bootstrap interval over seeds and their trajectories; left of 1 a network errs less
            than the baseline. Networks are in the order of the first panel; hollow ones were planted to be bad. A
            cross at the right edge is an infinite ratio: half of the rollouts or more left the floating-point numbers.
            """,
    ),
    "foresight": FigureSpec(
        title="What foretells which network will do well",
        question=Question.REMEDIES,
        table="foresight",
        columns=Columns(
            ("classes", "arms", "measure"),
            (),
            ("rival", "epoch", "n_arms", "n_seeds", "spearman", "low", "high", "partial", "critical"),
            missing=("spearman", "partial", "critical"),
            single=("epoch",),
        ),
        draw="surroscope.plots.remedies:foresight",
        needs=("remedies",),
        caption="""
            Rank correlation over the networks of {system} of a number at an early epoch with the ratio of rollout
            errors at the end to the baseline's, on classes that were trained on and, where some were held out, on
            those; {n}. It is 1 where the number orders all networks as expected: more sharing, or a smaller error, and
            then a better rollout. Filled points are all networks, with the 95 % bootstrap interval over seeds; hollow
            ones leave out those that were planted to be bad, which may make a correlation alone; crosses are partial
            correlations given the validation error at the same epoch. Beyond the dashed lines lie 5 % of correlations
            of as many networks in random order; with so many measures some do so by chance, and the table has
            probabilities that are corrected for it. What lies below the grey line costs a few forwards, or
            gradients alone.
            """,
    ),
    "foresight_arms": FigureSpec(
        title="Networks by early numbers and by how they end",
        question=Question.REMEDIES,
        table="foresight_arms",
        columns=Columns(
            ("classes", "measure", "model"),
            (),
            ("value", "ratio", "planted"),
            infinite=("value", "ratio"),
            missing=("value",),
        ),
        draw="surroscope.plots.remedies:arms",
        needs=("remedies",),
        caption="""
            Each network of {system}, {n}, by a number at an early epoch (mean over seeds) and by the ratio of its
            rollout errors at the end to the baseline's (geometric mean over seeds of medians of pairs), on classes
            that were trained on. Shown are the same numbers in every study: what influence and the kernel say is
            shared, and the validation error that costs nothing. Hollow networks were planted to be bad; a number or a
            ratio that is infinite or does not exist has no point.
            """,
    ),
}
