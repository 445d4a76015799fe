"""The figures of influence between times, classes and distances, and of its metric during training."""

from surroscope.report.spec import COUNTS, ENDS, QUARTILES, Columns, FigureSpec, Question, quartiles

NAMED = ("quantity", "normalization")
RESPONDING = ("model", "observable", "step", *NAMED)
BETWEEN_TIMES = quartiles(RESPONDING, ("perturbation_time", "response_time"), single=NAMED)
OF_LAG = quartiles((*RESPONDING, "relation"), ("lag",), single=NAMED)
OF_CHECKPOINTS = (
    "diagonal_mean",
    "off_diagonal_mean",
    "off_diagonal_ratio",
    "half_life",
    "class_transfer_ratio",
    "dynamic_correlation_length",
    "largest_metric_eigenvalue",
    "participation_ratio",
    "trust_horizon",
    "equivariance_error",
)

FIGURES = {
    "two_time": FigureSpec(
        title="Influence between times",
        question=Question.TIMES,
        table="two_time",
        columns=BETWEEN_TIMES,
        draw="surroscope.plots.influence:two_time",
        shows="T: two-time influence",
        observable="smse",
        caption="""
            Median influence H of a gradient step on the transition at perturbation time t (horizontal) on the error at
            response time τ (vertical) within a class, for {system}, {n}. H is {unit} (dimensionless); rows run over all
            perturbations of a probe batch. A positive value means that the step also lowers the error of the response.
            The equations do not depend on time, so a network that learned their operator shows influence everywhere,
            while a narrow bright diagonal over a dark ground means that each time was memorised for itself; the white
            line encloses at least half of the mean of the diagonal. Values below zero or above the colour range are
            clipped where the colour bar ends in an arrow. Convergence alone narrows the diagonal, whatever the network
            shares: see the decay in its two factors.
            """,
    ),
    "time_lag": FigureSpec(
        title="Influence against time lag",
        question=Question.TIMES,
        table="time_lag",
        columns=OF_LAG,
        draw="surroscope.plots.influence:time_lag",
        shows="T: time-lag curve (horizon)",
        observable="smse",
        caption="""
            Influence H against the lag τ − t between response and perturbation, within a class and between classes, for
            {system}, {n}. Lines are medians, bands quartiles over all pairs of a lag and bars 95 % intervals of the
            medians; H is {unit} (dimensionless). A curve that stays high far from lag zero, with the inter-class curve
            close to it, means that one update serves all times and classes. A spike at lag zero with an inter-class
            curve at zero means updates that are indexed by time and class: memorisation, or convergence alone, which
            the decay in its two factors tells apart.
            """,
    ),
    "leads": FigureSpec(
        title="Influence between lead times",
        question=Question.TIMES,
        table="leads",
        columns=quartiles(("model",), ("response_lead", "perturbation_lead", "response_time", "perturbation_time")),
        draw="surroscope.plots.leads:leads",
        needs=("leads",),
        caption="""
            Influence H between starts t and lead times dt of one class, of networks that are told how far
            to predict, for {system} ({n} in the study; those that the figure states are taken here). A panel is a map
            between times for each lead of the step (columns) and of the response (rows), medians over
            classes, probe batches and seeds, of H[j, i] / √(H[j, j] H[i, i]), in which the size of errors
            drops out (dimensionless). On the diagonal of the grid are the maps of each lead alone. Where
            those beside it look like them, a step at one lead helps the others at the same start; where
            they are near 0, the network has learned each lead apart. A network that memorised every pair
            has 1 on the diagonals of the maps on the diagonal of the grid and nothing else; one that cannot
            keep starts and leads apart, or is untrained, has the same everywhere.
            """,
    ),
    "rollout_correlation": FigureSpec(
        title="Influence against rollout error",
        question=Question.TIMES,
        table="rollout_correlation",
        columns=Columns(
            ("model", "quantity"),
            ("horizon",),
            ("value", *ENDS, "within", "within_low", "within_high", "n_points", "published", *COUNTS),
            missing=("value", "within", "within_low", "within_high", "published"),
            single=("quantity",),
        ),
        draw="surroscope.plots.dynamics:rollout_correlation",
        shows="T: influence against rollout error",
        caption="""
            Correlation between the off-diagonal ratio R and the error of rollouts, by horizon, for {system}, {n}. R is
            the sum of a class's influence off the diagonal over that on it; the error is the sum over the steps of a
            rollout, the median over its starting times; points are classes, probe batches and seeds. Bands are 95 %
            bootstrap intervals that resample seeds and probe batches. Diamonds, where there are some, are the published
            values at 128 × 128, read off the plots of arXiv 2509.00024. A correlation well below zero means that
            samples whose steps help other times also roll out better: coherence pays. An interval across zero says that
            this study cannot tell; the dashed line with its bars says it of values less the mean of their class, since
            classes that differ in both numbers correlate even where no class does by itself.
            """,
    ),
    "reference": FigureSpec(
        title="Influence between times, before and after training",
        question=Question.TIMES,
        table="two_time_training",
        columns=quartiles(("model", "quantity"), ("epoch", "perturbation_time", "response_time"), single=("quantity",)),
        draw="surroscope.plots.influence:reference",
        needs=("untrained",),
        caption="""
            Median influence between perturbation time and response time within a class, of the network as it was
            initialised and of the trained one, for {system}, {n}. H is in units of the standard deviation of its row
            (dimensionless). An architecture has a ridge before it has seen data, since its gradients at neighbouring
            times are alike; only what the right-hand map has and the left one has not is of training. A memoriser and a
            converged network that cannot memorise may both end with a narrow ridge, so its width decides nothing.
            """,
    ),
    "histogram": FigureSpec(
        title="How influence is distributed",
        question=Question.TIMES,
        table="histogram",
        columns=Columns(("model", "quantity", "relation"), ("from", "to"), ("density", *COUNTS), single=("quantity",)),
        draw="surroscope.plots.influence:histogram",
        shows="T: histogram",
        caption="""
            Distribution of influence H between different transitions, in units of the standard deviation of its row
            (dimensionless), within a class and between classes, for {system}, {n}; the range holds the middle 98 % of
            all pairs. A memoriser has all but nothing away from zero, between classes exactly nothing. A network that
            cannot memorise is spread to both sides of zero once it has converged, since its influence then sums to
            zero. An untrained network lies on the right, where all gradients point one way.
            """,
    ),
    "class_transfer": FigureSpec(
        title="Influence between classes",
        question=Question.CLASSES,
        table="class_transfer",
        columns=quartiles((*RESPONDING, "perturbation_class", "response_class"), (), single=NAMED),
        draw="surroscope.plots.influence:class_transfer",
        needs=("classes",),
        shows="T: class transferability",
        observable="smse",
        caption="""
            Median influence H of a step on one class of initial conditions (columns) on the error in another (rows) at
            equal times, for {system}, {n}. The small numbers are the 95 % intervals of the medians; H is {unit}
            (dimensionless). All classes obey the same equations, so off-diagonal values close to the diagonal ones mean
            that the operator is shared, and values near zero that the network keeps one solver per class, or that it
            has converged: a network that cannot memorise ends there too, so see what classes share.
            """,
    ),
    "interpolation": FigureSpec(
        title="Influence against distance",
        question=Question.CLASSES,
        table="interpolation",
        columns=quartiles(("model", *NAMED), ("distance",), positive=("distance",), single=NAMED),
        draw="surroscope.plots.influence:interpolation",
        shows="T: interpolation",
        caption="""
            Influence H between two transitions against the distance of their input states, for all {system} models,
            {n}. H is {unit} (dimensionless). The distance is the squared difference of the two states over the mean of
            their root mean squares (dimensionless, logarithmic axis); lines are medians and bands quartiles of the
            means per probe batch, and bins that fewer than half of the batches reach are left out. A monotone decay to
            zero means that the network interpolates between near neighbours; the distance of the first zero crossing is
            its correlation length. An operator that was learned would keep H positive at any distance until it has
            converged; what is shared, against distance, does not depend on that.
            """,
    ),
    "dynamics": FigureSpec(
        title="Influence during training",
        question=Question.TRAINING,
        table="checkpoints",
        columns=Columns(
            ("model", "quantity"),
            ("seed", "epoch"),
            OF_CHECKPOINTS,
            infinite=OF_CHECKPOINTS,
            missing=OF_CHECKPOINTS,
            single=("quantity",),
        ),
        draw="surroscope.plots.dynamics:dynamics",
        shows="T: influence dynamics",
        needs=("epochs",),
        caption="""
            What each checkpoint of the {system} networks is like, against the epoch of training: one panel a number,
            {n}. Lines are medians over seeds and bands the range, up to the top edge with a cross where a seed is
            infinite; docs/scalars.md defines each number. Learning shows where off-diagonal influence, half-life, class
            transfer and correlation length grow, or hold, while the error falls. Memorisation shows where influence on
            the own transition grows alone: the network gets better by telling transitions apart.
            """,
    ),
    "rollout_points": FigureSpec(
        title="Influence against rollout error, every point",
        question=Question.TIMES,
        table="rollout_points",
        columns=Columns(
            ("model", "quantity", "class"),
            ("horizon", "unit"),
            ("ratio", "error", *COUNTS),
            infinite=("error",),
            missing=("ratio", "error"),
            single=("quantity",),
        ),
        draw="surroscope.plots.dynamics:rollout_points",
        caption="""
            The points behind the correlation of the off-diagonal ratio R with the error of rollouts, for {system}, {n}:
            one for each class, probe batch and seed, at the shortest and the longest horizon. R is the sum of a class's
            influence off the diagonal over that on it; the error is the sum over the steps of a rollout, median over
            its starts (both dimensionless, the error on a logarithmic axis). Points that lie along a falling line in
            each class by itself mean that networks which share more between times also roll out better; groups of
            points, a class each, mean that the correlation is one of classes.
            """,
    ),
    "two_time_training": FigureSpec(
        title="Influence between times during training",
        question=Question.TRAINING,
        table="two_time_training",
        columns=quartiles(("model", "quantity"), ("epoch", "perturbation_time", "response_time"), single=("quantity",)),
        draw="surroscope.plots.animations:two_time_training",
        needs=("epochs",),
        moving=True,
        caption="""
            Median influence between perturbation time and response time within a class, one frame a probed epoch, for
            {system}, {n}. H is in units of the standard deviation of its row (dimensionless), in one colour range for
            all frames and networks. Learning would spread light away from the diagonal as training goes on; a ridge
            that gets narrower means that the network tells the times apart more and more.
            """,
    ),
    "spectrum": FigureSpec(
        title="Spectrum of the metric",
        question=Question.TRAINING,
        table="spectrum",
        columns=Columns(
            ("model",),
            ("epoch",),
            ("minimum", *QUARTILES, "maximum", "condition", "largest_metric_eigenvalue", *COUNTS),
            ascending=(("minimum", *QUARTILES, "maximum"),),
            positive=("maximum", "condition", "largest_metric_eigenvalue"),
            infinite=("condition",),
        ),
        draw="surroscope.plots.influence:spectrum",
        shows="T: spectrum",
        caption="""
            Eigenvalues of the Gauss-Newton metric in the span of the probe gradients at each probed epoch, for
            {system}, {n}. Boxes are quartiles over eigenvalues, probe batches and seeds, and whiskers the smallest and
            largest value (dimensionless, logarithmic axis); below are the median ratio of largest to smallest and the
            median largest eigenvalue times the number of outputs M. The larger the eigenvalues, the stiffer the
            network: the same change of its predictions needs a smaller step. The wider the spread, the more its
            responses are concentrated in few directions. The spectrum alone does not separate learning from
            memorisation; it says how far the solver behind the other figures can be trusted.
            """,
    ),
}
# Every other observable than the cost has these two as well, under names such as two_time_mass.
OF_OBSERVABLES = {
    "two_time": FigureSpec(
        title="Influence on {observable} between times",
        question=Question.CONSERVED,
        table="two_time",
        columns=BETWEEN_TIMES,
        draw="surroscope.plots.influence:two_time",
        caption="""
            Median influence of a gradient step on the SMSE at perturbation time t (horizontal) on the {observable}
            error at response time τ (vertical) within a class, for {system}, {n}. For a conserved quantity, such as
            mass or energy, the error is its squared change in one step; for any other, what its definition says, as a
            rule the squared difference from the target's. Values are in units of the standard deviation of its row
            (dimensionless), whatever the study's normalisation. Where any is below zero the colour range is symmetric:
            red means that fitting one time also improves this quantity at the other, blue that it harms it. A network
            that learned the law behind it has positive values everywhere; on the diagonal alone they mean that it is
            fitted time by time.
            """,
    ),
    "time_lag": FigureSpec(
        title="Influence on {observable} against time lag",
        question=Question.CONSERVED,
        table="time_lag",
        columns=OF_LAG,
        draw="surroscope.plots.influence:time_lag",
        caption="""
            Influence of a step on the SMSE on the {observable} error against the lag τ − t between response and
            perturbation, for {system}, {n}. For a conserved quantity, such as mass or energy, the error is its squared
            change in one step; for any other, what its definition says, as a rule the squared difference from the
            target's. Lines are medians, bands quartiles over all pairs of a lag and bars 95 % intervals of the medians,
            within a class and between classes, in units of the standard deviation of its row (dimensionless), whatever
            the study's normalisation. A conservation law holds for every state, so a network that learned it improves
            at every lag and in every class. A spike at lag zero, or an inter-class curve at zero, means that the
            quantity is only copied from the training states.
            """,
    ),
}
