"""Ways of training a network, each in a file of its own; `docs/remedies.md` says what they did."""
