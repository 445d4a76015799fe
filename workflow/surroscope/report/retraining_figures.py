"""The figures of trainings without groups of transitions, the ground truth of what networks share."""

from surroscope.report.spec import Columns, FigureSpec, Question

MAPS = Columns(
    ("model", "level", "measure", "tested", "left_out"), (), ("value", "seed_noise"), missing=("seed_noise",)
)
SETUP = """
            Networks on {system} trained again without some groups of transitions, a group being a class and a window of
            consecutive times, from the same initial weights, with the same batches and as many steps of the optimiser.
            """

FIGURES = {
    "retraining_maps": FigureSpec(
        title="Retraining without a group, and what measures say of it",
        question=Question.CHOICE,
        table="retraining_maps",
        columns=MAPS,
        draw="surroscope.plots.retraining:maps",
        needs=("retraining",),
        caption=f"""{SETUP}
            Retraining: how much the logarithm of the error at a group (row) rises when another (column) is left out,
            median over its test transitions. Signed influence is summed over the group's training transitions; the
            kernel, the residuals and the distance are of two inputs, one of each group, and need no retraining. Each
            map is in units of its mean diagonal; where it is blue, leaving the group out helps. A memoriser is red on
            the diagonal alone; a network that cannot memorise is pale everywhere, for no group is missed, and its map
            is the noise of training; an untrained one has no map of retraining, and its kernel may be red throughout.
            {{n}} stand behind influence.
            """,
    ),
    "retraining_sums": FigureSpec(
        title="Retraining without classes and windows, and what measures say of it",
        question=Question.CHOICE,
        table="retraining_maps",
        columns=MAPS,
        draw="surroscope.plots.retraining:sums",
        needs=("retraining",),
        caption=f"""{SETUP}
            What the maps of groups sum to between classes (above) and between windows of times (below): over what is
            left out, and the mean over what is tested. The first column is of networks that all of a class, or all of a
            window, was really left out of; where the second, the sum of single groups, is smaller, groups stand in for
            each other. Units of the mean diagonal; {{n}} stand behind influence. A network whose map of windows is pale
            off the diagonal and red on it has learned each time by itself.
            """,
    ),
    "retraining_scores": FigureSpec(
        title="Which measure foretells retraining",
        question=Question.CHOICE,
        table="retraining_scores",
        columns=Columns(
            ("model", "score", "relation", "measure", "seeds"),
            (),
            ("value", "low", "high", "reliability", "ceiling", "n_seeds"),
            missing=("value", "reliability", "ceiling"),
        ),
        draw="surroscope.plots.retraining:scores",
        needs=("retraining",),
        caption=f"""{SETUP}
            Rank correlation of what each measure says with what retraining did, over all pairs of groups and over
            those off the diagonal, and the linear datamodelling score: over networks trained on random halves of the
            groups, rank correlation of the errors with the sum of what the groups that they had were said to do, mean
            over groups; the last panel holds fixed whether a group itself was trained on. Any map with a strong
            diagonal agrees with any other over all entries, so nearness and the order by class and time, which know no
            network, stand beside them: a measure has to beat those. Dotted: the most that seeds let any prediction
            reach, the root of the reliability of their mean (Spearman-Brown); where there is none, effects are within
            the noise of training. {{n}} stand behind influence.
            """,
    ),
    "retraining_kept": FigureSpec(
        title="What is kept of the gain where a class or a window is left out",
        question=Question.SHARED,
        table="retraining_kept",
        columns=Columns(
            ("model", "level", "left_out", "measure"),
            (),
            ("value", "low", "high", "error_without", "error_all", "persistence", "n_seeds"),
            missing=("value",),
        ),
        draw="surroscope.plots.retraining:kept",
        needs=("retraining",),
        caption=f"""{SETUP}
            Black: of the gain over no change that training on all brings at a class, or at a window of times, the share
            that a network keeps which never saw it; below 0 it is worse than no change. Beside it what measures say:
            the help of that other class or window which helps most, relative to its own, from signed influence and from
            two of the kernel; {{n}} stand behind influence. A memoriser keeps nothing, and a network that cannot
            memorise keeps all, however large its error. A measure that a verdict may rest on lies where black does.
            """,
    ),
}
