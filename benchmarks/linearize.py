"""Per-sample gradients and tangents against the passes that they cannot avoid, side by side in one run.

    python benchmarks/linearize.py            (or `make bench`)

Gradients are compared with one batched forward and backward pass over the same samples; tangents with as many
forward passes as there are (direction, sample) pairs, in batches of the same size. Processor time on one thread,
median of the repetitions. A ratio is machine-independent only roughly; the machine is printed.
"""

import platform
import statistics
import time
from collections.abc import Callable

import torch

from surroscope import device
from surroscope.models import unet, vit
from surroscope.observables import smse
from surroscope.response.linearize import Linearization

SAMPLES, DIRECTIONS, GROUP, REPEATS = 48, 48, 8, 5
NETWORKS = {
    "UNet of the default study": lambda: unet.build(4, 32, width=8, stages=2, kernels=(5, 3, 3), blocks=1),
    "ViT of the default study": lambda: vit.build(4, 32, width=64, depth=4, heads=4),
    "UNet, 7-5-3 kernels": lambda: unet.build(4, 32, width=8, stages=2, kernels=(7, 5, 3)),
}


def seconds(call: Callable[[], object]) -> float:
    call()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def main() -> None:
    device.pick()
    torch.manual_seed(0)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread")
    print(f"{'network':28s} {'parameters':>10s} {'gradients / fwd+bwd':>20s} {'tangents / forwards':>20s}")
    states, targets = torch.randn(2, SAMPLES, 4, 32, 32)
    for name, build in NETWORKS.items():
        network = build()
        linear = Linearization(network)

        def backward(network: torch.nn.Module = network) -> None:
            network.zero_grad()
            smse(network(states), targets, states).mean().backward()

        @torch.no_grad()
        def forwards(network: torch.nn.Module = network) -> None:
            for _ in range(DIRECTIONS * GROUP // SAMPLES):
                network(states)

        gradients = linear.gradients(smse, states, targets, chunk=16)
        ratios = (
            seconds(lambda linear=linear: linear.gradients(smse, states, targets, chunk=16)) / seconds(backward),
            seconds(lambda linear=linear, g=gradients: linear.tangents(states[:GROUP], g, chunk=DIRECTIONS))
            / seconds(forwards),
        )
        print(f"{name:28s} {linear.size:10,d} {ratios[0]:20.2f} {ratios[1]:20.2f}")


if __name__ == "__main__":
    main()
