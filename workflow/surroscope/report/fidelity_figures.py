"""The figures of what real steps did, beside what influence foretold."""

from surroscope.report.spec import Columns, FigureSpec, Question, quartiles

ABOUT = ("model", "kind", "predictor", "relation", "statistic")
STATISTICS = quartiles(ABOUT, ("fall",), ("fell", "n_perturbations"), missing=("fall",))
PAIRS = Columns(
    ("model", "kind", "predictor", "relation"),
    ("fall", "unit", "perturbation", "sample"),
    ("predicted", "measured"),
    missing=("fall",),
)
STEPS = """
            Real steps from the trained weights of {system}, on one transition each ({n} in the study; those that the
            figure states are taken here). Steps are proximal ones, in the span of the gradients or in all parameters,
            and ones of gradient descent, sized so that to first order their own error falls by the share given; and one
            and ten of AdamW with its moments, whose momentum and decay move every error and are left out of the
            sample's part.
            """

FIGURES = {
    "fidelity_spearman": FigureSpec(
        title="Real steps: order of the changes against that foretold",
        question=Question.CHOICE,
        table="fidelity",
        columns=STATISTICS,
        draw="surroscope.plots.fidelity:spearman",
        needs=("fidelity",),
        caption=f"""{STEPS}
            Shown is Spearman's correlation of the changes of all other errors with what each quantity predicts. At 1 a
            quantity orders the transitions as a real step does; where it falls as steps grow, the curvature of the
            network has taken over. It says whether a quantity is to be believed and not whether the network learned: a
            network that memorised moves nothing but the sample itself, so that the changes of the others are small,
            and their order is noise unless the quantity is exact; an untrained network moves all errors together, and
            every quantity foretells it.
            """,
    ),
    "fidelity_slope": FigureSpec(
        title="Real steps: size of the changes against that foretold",
        question=Question.CHOICE,
        table="fidelity",
        columns=STATISTICS,
        draw="surroscope.plots.fidelity:slope",
        needs=("fidelity",),
        caption=f"""{STEPS}
            Shown is the slope of the changes of all other errors on their predictions, whose one scale is the step's
            own first-order fall. It is 1 for small steps and the quantity whose step it is; below, others gain less
            than foretold, below 0 they are harmed where help was foretold. A network that memorised has changes near
            nothing, and its slope is that of noise on noise; an untrained one, which is far from any minimum, keeps a
            slope near 1 up to large steps.
            """,
    ),
    "fidelity_pairs": FigureSpec(
        title="Real steps: every pair",
        question=Question.CHOICE,
        table="fidelity_pairs",
        columns=PAIRS,
        draw="surroscope.plots.fidelity:pairs",
        needs=("fidelity",),
        caption=f"""{STEPS}
            Every point is a pair of transitions: the measured change of an error against the one that the study's own
            quantity predicts, in units of the step's own first-order fall, linear between -1 and 1 and logarithmic
            beyond. On the line a change is as foretold. A network that memorised has its steps' own transitions at -1
            and all others at the origin; an untrained one has all of them near -1, along the line.
            """,
    ),
    "fidelity_pbrf": FigureSpec(
        title="The proximal problem solved in full",
        question=Question.CHOICE,
        table="fidelity_pairs",
        columns=PAIRS,
        draw="surroscope.plots.fidelity:pbrf",
        needs=("fidelity", "pbrf"),
        caption="""
            Change of every error of {system} ({n} in the study, a few transitions of one here) at the exact minimum of
            the proximal problem of one transition, against influence in all parameters, its first order. The problem is
            to lower the transition's error without moving predictions or parameters; a small and a large step, in units
            of the step's own first-order fall. On the line the network is linear as far as the step goes; what
            bends away from it is its curvature. A network that memorised has all other transitions at the origin for
            any size of step; an untrained one has them along the line, near the step's own.
            """,
    ),
}
