"""What a solver of the physics raises when it cannot go on."""


class SolverError(RuntimeError):
    """A trajectory left the physical states, or its time step collapsed.

    row: position of the trajectory in the batch that was being solved
    time: physical time of the state that failed
    reason: one clause, such as "density or pressure is not positive"
    """

    def __init__(self, row: int, time: float, reason: str) -> None:
        super().__init__(row, time, reason)
        self.row = row
        self.time = time
        self.reason = reason

    def __str__(self) -> str:
        return f"batch row {self.row}, time {self.time:.6g}: {self.reason}"
