"""Per-sample gradients, tangents and the metric against the passes that they cannot avoid, side by side in one run.

    python benchmarks/linearize.py            (or `make bench`)

The method is the one that `calibrate` chooses. Gradients are compared with one batched forward and backward pass over
the same samples; tangents J v and metric products Jᵀ J v with as many forward passes, in batches of all samples, as
there are (direction, sample) pairs. Processor time on one thread; all calls take turns, and the least of the turns
counts, so that other jobs on the machine disturb it little. Ratios depend on the machine too; it is printed.
"""

import os
import platform
import sys
import time
from collections.abc import Callable

import torch

from surroscope import device
from surroscope.cost_function import smse
from surroscope.influence.calibrate import calibrate
from surroscope.influence.linearize import Linearization
from surroscope.models import unet, vit
from surroscope.runtime import environment

SAMPLES, GROUP, TURNS = 48, 24, 4
NETWORKS = {
    "UNet of the default study": lambda: unet.build(4, 32, width=8, stages=2, kernels=(5, 3, 3), blocks=1),
    "ViT of the default study": lambda: vit.build(4, 32, width=64, depth=4, heads=4),
}


def least_seconds(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(TURNS):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return {name: min(found) for name, found in times.items()}


def main() -> None:
    device.pick()
    torch.manual_seed(0)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    states, targets = torch.randn(2, SAMPLES, 4, 32, 32)
    for name, build in NETWORKS.items():
        network = build()
        linear = Linearization(network)
        start = time.perf_counter()
        method = calibrate(linear, smse, states, targets).method
        print(f"\n{name}, {linear.size:,d} parameters; calibrated in {time.perf_counter() - start:.1f} s:\n  {method}")
        gradients = linear.gradients(smse, states, targets, method)

        def backward(network: torch.nn.Module = network) -> None:
            network.zero_grad()
            smse(network(states), targets, states).mean().backward()

        @torch.no_grad()
        def forward(network: torch.nn.Module = network) -> None:
            network(states)

        part = states[:GROUP]
        seconds = least_seconds(
            {
                "forward": forward,
                "backward": backward,
                "gradients": lambda: linear.gradients(smse, states, targets, method),  # noqa: B023
                "tangents": lambda: linear.tangents(part, gradients, method),  # noqa: B023
                "metric": lambda: linear.metric(part, gradients, method),  # noqa: B023
            }
        )
        forwards = seconds["forward"] * len(gradients) * GROUP / SAMPLES
        print(f"  gradients / (forward + backward)  {seconds['gradients'] / seconds['backward']:.2f}")
        print(f"  tangents / forwards               {seconds['tangents'] / forwards:.2f}")
        print(f"  metric products / forwards        {seconds['metric'] / forwards:.2f}")


if __name__ == "__main__":
    if any(os.environ.get(name) != value for name, value in environment.FIXED.items()):
        # The allocator and the thread pools read their settings when the process starts.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | environment.FIXED)
    main()
