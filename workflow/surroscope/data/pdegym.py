"""Where the classes of PDEGym are on the Hugging Face hub (Herde et al. 2024, arXiv 2405.19101), and how they are kept.

A class is one repository of netCDF files with one variable (sample, time, channel, x, y), float32, 128 x 128 cells and
21 snapshots. Files are numbered from 0, and their numeric order is the authors'.
"""

from dataclasses import dataclass

OWNER = "camlab-ethz"
LICENCE = "CC-BY-NC-4.0"
NOTICE = (
    f"PDEGym data (Herde et al. 2024, arXiv 2405.19101) are licensed {LICENCE}: name the authors, no commercial use "
    "(https://creativecommons.org/licenses/by-nc/4.0/)"
)


@dataclass(frozen=True)
class Series:
    """The files of a class: `{stem}_{number}.nc`, each with `rows` trajectories but for a shorter last one."""

    stem: str
    rows: int
    trajectories: int

    def files(self, trajectories: int) -> list[str]:
        """Names of the files that hold the first so many trajectories."""
        return [f"{self.stem}_{number}.nc" for number in range(-(-trajectories // self.rows))]


EULER = Series("data", 715, 10_000)
NAVIER_STOKES = Series("velocity", 1177, 20_000)
SERIES = dict.fromkeys(("CE-RP", "CE-CRP", "CE-RPUI"), EULER) | dict.fromkeys(
    ("NS-BB", "NS-Gauss", "NS-Sines"), NAVIER_STOKES
)
# What a channel is, in terms of the variable of the files; [0] is its first component.
CHANNELS = {
    "CE": {
        "density": "data[0]",
        "momentum_x": "data[0] * data[1]",
        "momentum_y": "data[0] * data[2]",
        "energy": "data[4]",
    },
    "NS": {"velocity_x": "velocity[0]", "velocity_y": "velocity[1]"},
}
TIME_STEP = 0.05
CELLS = 128
SNAPSHOTS = 21
DIMENSIONS = {"trajectory": "sample", "time": "time", "channel": "channel", "y": "y", "x": "x"}
