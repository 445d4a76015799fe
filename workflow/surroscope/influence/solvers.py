"""Solver -> the quantity that it computes; several solvers may compute one."""

QUANTITY = {"subspace": "span", "full": "full", "dense": "full"} | {q: q for q in ("euclidean", "cosine", "adam")}
