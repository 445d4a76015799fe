"""Differentiable per-sample scalars: what a prediction fails to conserve, and what else it gets wrong.

Each is a function of (prediction, target, state), all (B, F, Y, X), and gives (B,). The value of a sample depends on
that sample alone. A family of them is a module, so that a new one runs nothing again but what asks for it.
"""

# The cost function's name among them.
COST = "smse"
