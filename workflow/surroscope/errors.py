"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Bad input. The message names what was found where, what was expected, and what to do."""
