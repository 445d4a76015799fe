"""The figures of what a network shares between inputs, apart from what is left to learn there."""

from surroscope.diagnostics.verdict import CONTROLS
from surroscope.report.spec import Columns, FigureSpec, Question, quartiles

KEPT = ("model", "measure", "weights")

PLACES = tuple(f"between_{name}{end}" for name in ("times", "classes") for end in ("", "_low", "_high"))
# What networks of known sharing read, since even one that shares all need not reach the corner.
KNOWN = "Of small convolutions of known sharing on compressible Euler, " + ", ".join(
    f"{whose} {times[0]:.2f} to {times[1]:.2f} between times and {classes[0]:.2f} to {classes[1]:.2f} between classes"
    for share, whose in ((1.0, "those that share all of their width read"), (0.5, "those that share half"))
    for times, classes in [(CONTROLS["times"][share], CONTROLS["classes"][share])]
)

FIGURES = {
    "verdict_plane": FigureSpec(
        title="Where the verdict stands",
        question=Question.VERDICT,
        table="verdict_plane",
        columns=Columns(("model", "weights", "classes", "label"), ("noise",), PLACES, missing=PLACES),
        draw="surroscope.plots.plane:plane",
        caption="""
            Kernel transfer between the first and the last times (across) and between each two classes (upwards), for
            {system}. At the upper right all is shared; at the lower left a memoriser keeps parameters for each. Hollow
            marks are the networks before training, in as many probe batches as they were looked at in ({n} stand behind
            influence): what is there already is the architecture's, and thin lines lead to where training took it.
            Small dots are other noises of the measure: where they lie far from their mark, the verdict depends on that
            choice. Pale is a network that is too weak to say anything of. """
        + f"{KNOWN}; other data need controls of their own.",
    ),
    "coupling_lag": FigureSpec(
        title="The decay in its two factors",
        question=Question.SHARED,
        table="coupling_lag",
        columns=quartiles((*KEPT, "relation"), ("lag",)),
        draw="surroscope.plots.coupling:decay",
        caption="""
            Influence and its two factors, what is left to learn at two transitions (residuals) and what the network
            shares between them (kernel), against their lag, for {system}, {n} for influence; each is 1 for a transition
            on itself. Black is signed influence, the measure of arXiv 2509.00024, as the cosine of two steps; orange is
            the cosine of the residuals alone. Blue is the kernel transfer, the share of what random steps change at one
            transition that the other tells, and violet whether a step that mends a random pattern of error mends it at
            the other too; dotted is the network before training. Where orange falls while blue and violet stay up,
            the decay of black begins with the errors and not with the network. A memoriser, with parameters of its own
            for each time or class, has blue and violet at zero; a network that cannot memorise keeps blue near 1 at
            every stage, and an untrained one may do so by its architecture alone.
            """,
    ),
    "coupling_classes": FigureSpec(
        title="What classes share",
        question=Question.SHARED,
        table="coupling_classes",
        columns=quartiles((*KEPT, "perturbation_class", "response_class"), ()),
        draw="surroscope.plots.coupling:classes",
        needs=("classes",),
        caption="""
            Kernel transfer between classes of initial conditions, before and after training, and signed influence at
            equal times (as the cosine of the two steps), for {system}, {n} for influence. The kernel transfer to a
            class (row) from another (column) is the share of what random steps change in its predictions that the
            other's predictions tell, relative to what its own tell: 1 where everything is shared, 0 where the two use
            different parameters. It does not depend on how well the network is trained on either. A converged network
            has influence near or below zero between classes whatever it shares, since the gradients of its training set
            sum to zero. Transfer says what a network can carry over, not that what it carries is right: an architecture
            may share before it has seen data (left).
            """,
    ),
    "coupling_groups": FigureSpec(
        title="What classes and times share",
        question=Question.SHARED,
        table="coupling_groups",
        columns=quartiles(
            (*KEPT, "response_class", "perturbation_class"),
            ("response_window", "perturbation_window"),
            single=("measure",),
        ),
        draw="surroscope.plots.coupling:groups",
        caption="""
            Kernel transfer between four windows of consecutive times of each class, for the trained networks of
            {system}; {n} stand behind influence, of which the batches that the figure states were looked at. A network
            that shares everything is bright throughout; blocks along the diagonal mean that classes are kept apart, and
            stripes within a block that times are.
            """,
    ),
    "coupling_distance": FigureSpec(
        title="What is shared, against distance",
        question=Question.SHARED,
        table="coupling_distance",
        columns=quartiles(KEPT, ("distance",), positive=("distance",)),
        draw="surroscope.plots.coupling:distance",
        caption="""
            Kernel and residuals of two transitions against the distance of their input states, for {system}; {n} stand
            behind influence, of which the batches that the figure states were looked at. Colours as in the figure
            against lag. A network that interpolates between near neighbours loses its transfer with distance; one whose
            errors alone depend on the state keeps it.
            """,
    ),
}
