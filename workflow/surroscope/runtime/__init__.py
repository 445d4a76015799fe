"""How results are made and kept, never what they are: no fingerprint follows an import of this package."""

# Raise it when what is on disk changes its meaning: every stage of every study runs again.
FORMAT = 1
