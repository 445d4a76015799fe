"""The figures of what stands behind an influence: its solver, the cells that respond, and the training samples."""

from surroscope.report.spec import QUARTILES, Columns, FigureSpec, Question, quartiles

CONCLUSIONS = ("half_life", "class_transfer", "off_diagonal_ratio", "correlation")

FIGURES = {
    "sensitivity": FigureSpec(
        title="Conclusions against damping and method",
        question=Question.CHOICE,
        table="sensitivity",
        columns=Columns(
            ("model", "quantity", "cut"),
            ("seed", "damping"),
            (*CONCLUSIONS, "relative_difference", "certificate", "converged", "reference", "n_probes"),
            positive=("damping",),
            infinite=("half_life",),
            missing=("damping", "certificate", "class_transfer", "half_life"),  # of a single class, of shared lags
        ),
        draw="surroscope.plots.sensitivity:sensitivity",
        needs=("sensitivity",),
        caption="""
            Four conclusions about {system} against the damping of the metric, for influence within the span of the
            gradients, in the full parameter space, and (grey strip) without the metric. Of {n} in the study those
            that the figure states are taken here, so that the ring need not be the study's verdict. Half-life is
            the lag at which influence within a class has halved, class transfer the share of it that reaches other
            classes, the off-diagonal ratio the sum of the influence within a class on all other times over that on the
            same time, and the correlation is with the influence matrix of the study's own choice. Flat curves that lie
            together mean that the verdict, learning or memorisation, does not hang on the solver; where curves part, it
            does. A network that memorised keeps a short half-life and a small transfer within the span at any small
            damping (in the full parameter space every network with more parameters than data comes to that as the
            damping falls); large damping weighs all directions alike, as the methods without the metric do, and can
            make it look as if it had learned.
            """,
    ),
    "channels": FigureSpec(
        title="Influence between channels",
        question=Question.RESPONSE,
        table="channels",
        columns=quartiles(
            ("model", "quantity", "relation", "response_channel", "perturbation_channel"), (), single=("quantity",)
        ),
        draw="surroscope.plots.response:channels",
        caption="""
            Influence of a step on the error in one channel (columns) on the error in another (rows), for {system}, {n}.
            Values are means over pairs of samples in per cent of the mean self-influence; red helps, blue harms, and
            the large numbers are medians with quartiles around them. A network that learned how the equations couple
            the channels shows the pattern of the sample itself again within and between classes. One that memorised
            shows it for the sample itself and fades to zero between classes.
            """,
    ),
    "fronts": FigureSpec(
        title="Share of the response on fronts",
        question=Question.RESPONSE,
        table="fronts",
        columns=quartiles(("model", "quantity", "relation"), (), ("area",), single=("quantity", "area")),
        draw="surroscope.plots.response:fronts",
        caption="""
            Share of the squared response that falls on the fronts of the sample that responds, for {system}, {n}
            (dimensionless). Markers are medians, bars quartiles; the dashed line is the share of the cells that count
            as fronts, which a response spread evenly over the sample would reach. A network that learned the operator
            corrects the same local mechanism wherever a front stands, so its response stays on the fronts of other
            samples and classes. One that memorised carries over a pattern that belongs to the sample that was stepped
            on, and the share falls to the dashed line.
            """,
    ),
    "response_maps": FigureSpec(
        title="Maps of the response to a step",
        question=Question.RESPONSE,
        table="response_maps",
        columns=Columns(
            ("model", "quantity", "response_class", "perturbation_class", "channel"),
            ("pair", "response_time", "perturbation_time", "y", "x"),
            ("state", "response"),
            single=("quantity",),
        ),
        draw="surroscope.plots.examples:response_maps",
        needs=("maps",),
        caption="""
            Change of the {system} prediction at one sample by a unit gradient step on another, beside the state that it
            responds to (in the units of the data); examples, while {n} stand behind the statistics. Labels on the left
            name the sample that responds and the one stepped on; colours are symmetric about zero and shared along a
            row only, so read the size off the colour bar, and lines repeat the state. A checkerboard, or the lattice of
            a network's patches, is the architecture's own: the figure states its share. A response that follows the
            structures of its own state, and is not much smaller for another time or class than for the sample itself,
            means learning. A response that vanishes for another time or class, or shows structures that the state does
            not have, means memorisation.
            """,
    ),
    "attribution": FigureSpec(
        title="Training trajectories that help and hurt",
        question=Question.SAMPLES,
        table="attribution_fields",
        columns=Columns(
            ("model", "quantity", "role", "class", "channel"),
            ("rank", "trajectory", "time", "y", "x"),
            ("influence", "value"),
            missing=("influence",),
            single=("quantity",),
        ),
        draw="surroscope.plots.examples:attribution",
        needs=("cross",),
        caption="""
            Training trajectories of {system} that help and that hurt the prediction of one test transition most, beside
            its own state (in the units of the data); an example, while {n} stand behind the statistics. H is the
            standardised influence summed over the steps of the training trajectory, shown at the time t that counts
            most; below zero, steps on it raise the error of the test transition. A network that learned the operator is
            helped by trajectories of any class that contain the same mechanism. One that memorised leans on a few of
            the same class and time that look like the test state.
            """,
    ),
    "leverage": FigureSpec(
        title="Leverage against time",
        question=Question.SAMPLES,
        table="leverage",
        columns=Columns(
            ("model", "quantity", "class"),
            ("time",),
            (*QUARTILES, "n_batches"),
            ascending=(QUARTILES,),
            single=("quantity",),
        ),
        draw="surroscope.plots.response:leverage",
        needs=("cross",),
        caption="""
            Leverage of samples against their time, by class, for {system}; of {n}, the seeds of the cross study count
            here, with the batches that the figure states. Leverage is the number of directions in the span of the
            gradients that a sample's outputs take up (dimensionless); lines are medians and bands quartiles over
            batches of test and of training trajectories together. Summed over all samples it is the effective dimension
            of the span, so what counts is how it is spread: even and low where samples share their directions, as they
            do where one operator was learned. Peaks at some times or in one class mean that those samples hold
            directions of their own and are memorised one by one.
            """,
    ),
}
