"""What the published figures show, read off the plots (arXiv 2509.00024): 128 x 128 cells, 10,000 trajectories a class.

Numbers of ours stand beside them, never in their place.
"""

SOURCE = "arXiv 2509.00024, 128 × 128"


# (system, architecture) -> name in tables/scalars.csv -> what was published, a number or a range.
SIGNATURE: dict[tuple[str, str], dict[str, float | tuple[float, float]]] = {
    ("CE", "vit"): {
        "two_time_diagonal": 6.4,
        "intra_class_lag_0": 6.4,
        "intra_class_lag_1": 1.4,
        "intra_class_lag_2": 1.0,
        "intra_class_lag_8": 0.5,
        **{f"inter_class_lag_{steps}": 0.1 for steps in (0, 1, 2, 8)},
        "class_diagonal": (0.9, 1.6),
        "class_off_diagonal": 0.1,
        "influence_nearest": 1.9,
        "influence_near": 0.45,
        "dynamic_correlation_length": 0.7,
        "largest_metric_eigenvalue": 10**7.4,
        "validation": 1e-3,
    },
    ("CE", "unet"): {
        "two_time_diagonal": (4.5, 6.0),
        "intra_class_lag_0": 4.7,
        "intra_class_lag_1": 2.0,
        "intra_class_lag_2": 1.3,
        "intra_class_lag_8": 0.6,
        **{f"inter_class_lag_{steps}": 0.1 for steps in (0, 1, 2, 8)},
        "class_diagonal": (1.3, 1.4),
        "class_off_diagonal": 0.1,
        "influence_nearest": 2.5,
        "influence_near": 0.5,
        "dynamic_correlation_length": 0.7,
        "largest_metric_eigenvalue": 1e8,
        "validation": 10**-2.6,
    },
    ("NS", "vit"): {
        "two_time_diagonal": (3.0, 4.5),
        "class_diagonal": (1.6, 2.5),
        "class_off_diagonal": (0.2, 0.6),
        "influence_nearest": 2.75,
        "influence_near": 1.2,
        "dynamic_correlation_length": 2.0,
        "largest_metric_eigenvalue": 10**6.45,
        "validation": 1e-5,
    },
    ("NS", "unet"): {
        "two_time_diagonal": (2.7, 3.5),
        "class_diagonal": (1.9, 2.4),
        "class_off_diagonal": (0.1, 0.5),
        "influence_nearest": 2.4,
        "influence_near": 1.2,
        "dynamic_correlation_length": 2.0,
        "largest_metric_eigenvalue": 1e7,
        "validation": 1e-5,
    },
}
# Correlation of the off-diagonal ratio R with the cumulative rollout error, by horizon in steps.
CORRELATION: dict[tuple[str, str], dict[int, float]] = {
    ("CE", "vit"): {1: -0.65, 16: -0.59},
    ("CE", "unet"): {1: -0.57, 16: -0.02},
    ("NS", "vit"): {1: -0.80, 16: -0.64},
    ("NS", "unet"): {1: -0.52, 16: -0.26},
}


def ends(system: str, architecture: str, name: str) -> tuple[float, float]:
    """Lower and upper end of what was published of a number; NaN where nothing was."""
    found = SIGNATURE.get((system, architecture), {}).get(name, float("nan"))
    return found if isinstance(found, tuple) else (found, found)
