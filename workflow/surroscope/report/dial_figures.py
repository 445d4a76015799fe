"""The figures of control networks, of which it is known what they share."""

from surroscope.report.spec import Columns, FigureSpec, Question

MEASURE = ("kind", "metric", "normalization", "measure")

FIGURES = {
    "dial": FigureSpec(
        title="Measures against what is known to be shared",
        question=Question.SHARED,
        table="dial_measures",
        columns=Columns(
            ("model", *MEASURE), ("seed", "epoch"), ("share", "value"), infinite=("value",), missing=("value",)
        ),
        draw="surroscope.plots.dial:measures",
        needs=("dial",),
        caption="""
            Measures of sharing at control networks on {system} against the share of their width that all classes, or
            all windows of times, have in common by construction; {n}. Points are single networks and lines medians over
            them; colours are epochs. All values are dimensionless, and a cross at the top edge is an infinite one. A
            measure that a verdict may rest on rises with the share at every epoch, and at one share has the same value
            at all of them. One that falls from epoch to epoch measures convergence: there a network that cannot
            memorise comes to look like one that does.
            """,
    ),
    "dial_roc": FigureSpec(
        title="Which measure tells sharing from memorising",
        question=Question.SHARED,
        table="dial_roc",
        columns=Columns(
            MEASURE,
            ("threshold", "false_positive", "true_positive"),
            infinite=("threshold",),
        ),
        draw="surroscope.plots.dial:curves",
        needs=("dial",),
        caption="""
            Of the control networks on {system}, all epochs together, those that a measure above its threshold takes to
            share: the fraction of the networks that share half or more by construction against the fraction of those
            that share less, {n}. The area under the curve is the chance that a network that shares more has the larger
            value; it is 1 for a measure that orders them without fault at every stage of training, 1/2 for chance
            (diagonal), and below that for a measure that puts memorisers above networks that share.
            """,
    ),
}
