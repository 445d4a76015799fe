"""The figures of what the networks predict: their error, what they conserve, their symmetries, and the data."""

from surroscope.report.spec import QUARTILES, SPREAD, Columns, FigureSpec, Question, quartiles

TRAINED, VALIDATED = (
    tuple(f"{part}_{s}" for s in ("minimum", "median", "maximum")) for part in ("train", "validation")
)
ERROR_AT_IMAGES = quartiles(("model", "action"), ("shift_x", "shift_y"), infinite=QUARTILES)
INFLUENCE_AT_IMAGES = quartiles(("model", "quantity", "action"), ("shift_x", "shift_y"), single=("quantity",))

FIGURES = {
    "training": FigureSpec(
        title="Training and validation error",
        question=Question.ACCURATE,
        table="training",
        columns=Columns(
            ("model",),
            ("epoch",),
            (*TRAINED, *VALIDATED, "persistence", "n_seeds"),
            ascending=(TRAINED, VALIDATED),
            missing=TRAINED,  # of epoch 0
        ),
        draw="surroscope.plots.training:training",
        shows="T: optimisation curves",
        caption="""
            One-step error of the {system} surrogates against training epoch. Of {n}, the seeds count here; no probe
            batch enters. The error is the SMSE, the squared error of every channel over the root mean square of its
            target (dimensionless, logarithmic axis). Lines are medians over seeds and bands the range over seeds; the
            dotted line predicts that nothing changes. Of a network that is trained by a strategy the training curve is
            its loss, such as the sum over steps that are unrolled. A validation curve that leaves the training curve is
            ordinary over-fitting; a small error on both does not tell learning from memorisation, which is what the
            influence figures are for.
            """,
    ),
    "rollout": FigureSpec(
        title="Error of rollouts, summed over their steps",
        question=Question.ACCURATE,
        table="rollout",
        columns=Columns(
            ("model",),
            ("start", "snapshot"),
            SPREAD,
            ascending=(("start", "snapshot"), QUARTILES),
            infinite=QUARTILES,
        ),
        draw="surroscope.plots.training:rollout",
        shows="T: rollouts",
        caption="""
            Cumulative SMSE of autoregressive rollouts of {system} test trajectories (dimensionless, logarithmic axis),
            {n}. Each line is the median over rollouts that start from one snapshot; the band gives the quartiles for
            the earliest start, and the panel "persistence" is the error of predicting no change. The vertical line ends
            the snapshots used in training. A network that learned the operator crosses it without a change of slope;
            one that memorised updates by time bends upwards there. Crosses mark values above the axis.
            """,
    ),
    "rollout_error": FigureSpec(
        title="Error of each step of a rollout",
        question=Question.ACCURATE,
        table="rollout_error",
        columns=Columns(
            ("model",),
            ("start", "snapshot"),
            (*SPREAD, "trust_horizon"),
            ascending=(("start", "snapshot"), QUARTILES),
            infinite=(*QUARTILES, "trust_horizon"),
            missing=("trust_horizon",),
        ),
        draw="surroscope.plots.training:rollout_error",
        caption="""
            SMSE of each step by itself, not summed, of rollouts of {system} test trajectories from the first snapshot
            (dimensionless, logarithmic axis), {n}. Lines are medians, bands quartiles and bars 95 % intervals of the
            medians; the dotted line is the error of predicting no change. A tick at the top marks the trust horizon,
            the median over rollouts of the first step whose error passes that of no change in the same rollout; the
            two median lines may cross elsewhere. A network that learned the operator stays below the dotted line
            beyond the snapshots that it was trained on, one that memorised them reaches it there.
            """,
    ),
    "prediction": FigureSpec(
        title="Predicted fields beside the truth",
        question=Question.ACCURATE,
        table="prediction",
        columns=Columns(
            ("model", "class", "channel"),
            ("start", "snapshot", "y", "x"),
            ("truth", "prediction"),
            infinite=("prediction",),
        ),
        draw="surroscope.plots.fields:prediction",
        shows="T: predictions",
        caption="""
            Fields predicted by autoregressive rollout beside the truth, for one {system} test trajectory of each class
            (in the units of the data). The labels on the left give the snapshot that the rollout starts from and the
            one it predicts; {n} stand behind the statistics elsewhere, this is one example. Truth and predictions share
            a range of values within a class, and so do the differences; what lies beyond it is clipped, as arrows on a
            colour bar say. Errors along fronts that grow with the steps are errors of phase; errors over whole regions
            mean that the state itself is lost.
            """,
    ),
    "rollout_fields": FigureSpec(
        title="A rollout beside the truth",
        question=Question.ACCURATE,
        table="rollout_fields",
        columns=Columns(
            ("model", "class", "channel"),
            ("start", "snapshot", "y", "x"),
            ("truth", "prediction"),
            infinite=("prediction",),
            single=("class",),
        ),
        draw="surroscope.plots.animations:rollout_fields",
        moving=True,
        caption="""
            A rollout of the first seed's networks beside the truth, one frame a snapshot, for one {system} test
            trajectory; a row a channel, in the units of the data. Ranges are fixed over the frames, those of the
            differences at the truth's own span at most. The statistics in the other figures rest on {n}; this is one
            example. Errors along fronts are errors of phase; errors over whole regions mean that the state itself is
            lost.
            """,
    ),
    "drift": FigureSpec(
        title="Drift of conserved totals in rollouts",
        question=Question.CONSERVED,
        table="drift",
        columns=quartiles(("model", "channel"), ("snapshot",), infinite=QUARTILES),
        draw="surroscope.plots.dynamics:drift",
        needs=("conserved",),
        caption="""
            Change of each total that the equations of {system} conserve, along rollouts from the first snapshot, {n}.
            It is the change of the mean over space, over the channel's mean absolute value along the true trajectory
            (relative); lines are medians over classes, probe batches and seeds, and bands quartiles. The vertical line
            ends the snapshots used in training. A network that learned the law keeps the totals; since none of it is
            built in, some drift is ordinary. A drift that grows faster past the vertical line means that the totals
            were held up by states that had been seen.
            """,
    ),
    "equivariance": FigureSpec(
        title="Error at turned and mirrored states",
        question=Question.SYMMETRIES,
        table="equivariance",
        columns=ERROR_AT_IMAGES,
        draw="surroscope.plots.orbits:turns",
        shows="S: equivariance error, D4",
        needs=("turns",),
        caption="""
            Error of one step at turned and mirrored states over the error at the states themselves, for {system}, {n}.
            Both state and target are turned, vectors as vectors; the error is the SMSE (the ratio is dimensionless).
            Markers are medians over probe transitions and bars quartiles. The equations commute with these actions, so
            a network that learned the operator has ratio one everywhere. Ratios above one mean that the network knows
            the orientations of its training data and not the law. Data without a preferred orientation hold the median
            near one whatever the network is; then a wide spread about one tells that it does not commute.
            """,
    ),
    "equivariance_lines": FigureSpec(
        title="Error at shifted states",
        question=Question.SYMMETRIES,
        table="equivariance",
        columns=ERROR_AT_IMAGES,
        draw="surroscope.plots.orbits:lines",
        shows="S: equivariance error, lines",
        needs=("symmetry", "lines"),
        caption="""
            Error of one step at states shifted along either axis over the error at the states themselves, for {system},
            {n}. State and target are shifted round the edge by whole cells; lines are medians over probe transitions
            and bands reach to the first and third quartile (dimensionless). A network without a sense of place stays at
            one. One whose patches or pooling windows lie on a fixed lattice returns to one at every multiple of the
            lattice, and rises between. A ratio that keeps above one at all shifts means that places were memorised;
            where the data have no preferred place, look at the bands instead.
            """,
    ),
    "equivariance_box": FigureSpec(
        title="Error at states shifted both ways",
        question=Question.SYMMETRIES,
        table="equivariance",
        columns=ERROR_AT_IMAGES,
        draw="surroscope.plots.orbits:box",
        shows="S: equivariance error, box",
        needs=("symmetry", "box"),
        caption="""
            Error of one step at states shifted along both axes at once over the error at the states themselves, for
            {system}, {n}. Medians above, third quartiles below, in one colour range; the lower left corner is the state
            itself (dimensionless). An even field at one means that the network has learned that no place is special; a
            lattice of pale cells marks the shifts by whole patches or pooling windows, the only ones that the network
            then commutes with. A lattice wider than the box cannot show here: see the shifts along lines, in the same
            range.
            """,
    ),
    "symmetry": FigureSpec(
        title="Influence on turned and mirrored images",
        question=Question.SYMMETRIES,
        table="symmetry",
        columns=INFLUENCE_AT_IMAGES,
        draw="surroscope.plots.orbits:turns",
        shows="S: symmetry influence, D4",
        needs=("symmetry", "turns"),
        caption="""
            Influence of a step on a sample on the error of its image under a symmetry of the equations, for {system};
            of {n} those that the figure states. H is in units of the standard deviation of its row (dimensionless), in
            the span of the gradients at the samples themselves; markers are medians, bars quartiles, and the broken
            lines mark the influence of a sample on itself. The solution operator commutes with these actions, so a
            network that learned it helps every image as much as the sample, and markers lie on the line. Markers near
            zero mean that each orientation or place is learned, or memorised, for itself.
            """,
    ),
    "symmetry_lines": FigureSpec(
        title="Influence on shifted images",
        question=Question.SYMMETRIES,
        table="symmetry",
        columns=INFLUENCE_AT_IMAGES,
        draw="surroscope.plots.orbits:lines",
        shows="S: symmetry influence, lines",
        needs=("symmetry", "lines"),
        caption="""
            Influence of a step on a sample on the error of its shifted image, for {system}; of {n} those that the
            figure states. H is in units of the standard deviation of its row (dimensionless), in the span of the
            gradients at the samples themselves; lines are medians and bands reach to the first and third quartile.
            Broken lines mark the influence of a sample on itself. A network that learned the operator helps every image
            as much as the sample. A fall to zero within a few cells means that each place is learned, or memorised, for
            itself.
            """,
    ),
    "symmetry_box": FigureSpec(
        title="Influence on images shifted both ways",
        question=Question.SYMMETRIES,
        table="symmetry",
        columns=INFLUENCE_AT_IMAGES,
        draw="surroscope.plots.orbits:box",
        shows="S: symmetry influence, box",
        needs=("symmetry", "box"),
        caption="""
            Influence of a step on a sample on the error of its image shifted along both axes, for {system}; of {n}
            those that the figure states. Medians above, third quartiles below, in one colour range; the lower left
            corner is the sample itself. H is in units of the standard deviation of its row (dimensionless), in the span
            of the gradients at the samples themselves. An even field means that one place teaches all; a bright corner
            or a lattice means that places are learned one by one, or by the network's own windows.
            """,
    ),
    "snapshots": FigureSpec(
        title="Snapshots of the data",
        question=Question.DATA,
        table="snapshots",
        columns=Columns(("class", "channel"), ("snapshot", "y", "x"), ("time", "value")),
        draw="surroscope.plots.fields:snapshots",
        caption="""
            One channel of one trajectory of each class of {system} initial conditions at a few snapshots. The range of
            values is shared along a row; t is the time that the data give. The statistics in the other figures rest on
            {n}; these are examples. Classes are meant to differ in their initial conditions alone: where equations and
            parameters are the same, so is the operator to be learned.
            """,
    ),
}
