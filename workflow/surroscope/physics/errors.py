"""What a solver of the physics raises when it cannot go on."""


class SolverError(RuntimeError):
    """A trajectory left the physical states, or its time step collapsed.

    row: position of the trajectory in the batch, or among the indices, that was asked for
    time: physical time of the state that failed
    reason: one clause, such as "density or pressure is not positive"
    trajectory: how to call the trajectory in the message, instead of its batch row
    """

    def __init__(self, row: int, time: float, reason: str, trajectory: str | None = None) -> None:
        super().__init__(row, time, reason, trajectory)
        self.row = row
        self.time = time
        self.reason = reason
        self.trajectory = trajectory

    def __str__(self) -> str:
        return f"{self.trajectory or f'batch row {self.row}'} failed at time {self.time:.6g}: {self.reason}"
