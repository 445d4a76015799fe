"""What can be configured, and what each job reads of it: declarations, whose values every job gets as its settings.

A job runs again where those values change, so no fingerprint follows an import of this package.
"""

# Raise it when a setting keeps its name and value and changes its meaning.
FORMAT = 1
