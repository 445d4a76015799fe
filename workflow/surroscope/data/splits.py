"""How many of one class's trajectories train, validate and test."""


def split_counts(trajectories: int, train: float, validation: float) -> tuple[int, int, int]:
    """(train, validation, test) counts from fractions: rounded, at least one of each."""
    n_train = min(max(1, round(train * trajectories)), trajectories - 2)
    n_validation = min(max(1, round(validation * trajectories)), trajectories - n_train - 1)
    return n_train, n_validation, trajectories - n_train - n_validation
