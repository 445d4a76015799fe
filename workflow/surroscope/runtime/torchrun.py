"""torchrun with all its options, but ending in one line where a process fails: the process has said why itself.

Where several machines meet, they do by the network that joins them, whatever their own names stand for there.
"""

import logging
import os
import socket
import subprocess
import sys
from ipaddress import ip_address

import psutil
from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from surroscope.errors import UserError

ENDPOINT, ADDRESS, INTERFACE = "--rdzv-endpoint", "--local-addr", "GLOO_SOCKET_IFNAME"


def network(words: list[str]) -> list[str]:
    """Options that have this machine meet the others of a job by the network between them; gloo gets its name, unless
    GLOO_SOCKET_IFNAME tells one. words: torchrun's options"""
    if ENDPOINT not in words or ADDRESS in words:
        return []
    address = towards(words[words.index(ENDPOINT) + 1].rpartition(":")[0])
    if ip_address(address).is_loopback:  # this is the first machine, by a name that is its own alone
        others = nodes()
        if not others:  # all are on this machine
            return []
        address = towards(others[0])
        if ip_address(address).is_loopback:
            raise UserError(
                f"{socket.gethostname()} takes {others[0]} for itself ({address}); expected names of other nodes to "
                "stand for their addresses: see /etc/hosts there"
            )
    os.environ.setdefault(INTERFACE, interface(address))
    return [ADDRESS, address]


def nodes() -> list[str]:
    """Names of the other nodes of this step of SLURM, if it is one. Raises UserError if SLURM does not tell them."""
    listed = os.environ.get("SLURM_STEP_NODELIST")
    if not listed:
        return []
    try:
        told = subprocess.run(["scontrol", "show", "hostnames", listed], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"the nodes {listed} of the step are not known: {error}") from None
    return [name for name in told.stdout.split() if name != os.environ.get("SLURMD_NODENAME")]


def towards(host: str) -> str:
    """The address of this machine from which it reaches a host. Raises UserError if there is no way."""
    try:
        family, kind, _, _, target = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as found:
            found.connect(target)  # of UDP: asks for a route, and sends nothing
            return str(found.getsockname()[0])
    except OSError as error:
        raise UserError(
            f"{socket.gethostname()} does not reach {host} ({error}); expected nodes that reach each other by name"
        ) from None


def interface(address: str) -> str:
    """The name of the network interface of this machine that has an address."""
    every = psutil.net_if_addrs().items()
    return next(name for name, own in every if address in [one.address for one in own])


if __name__ == "__main__":
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        sys.argv[1:1] = network(sys.argv[1:])
        run.main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        sys.exit(f"error: process {rank} ended with exit code {failure.exitcode}, and the others were ended")
    except SignalException as error:
        sys.exit(f"error: {error}")
