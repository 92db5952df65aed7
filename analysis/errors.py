"""The one exception that stands for a user's mistake."""


class AnalysisError(Exception):
    """A mistake that a person can mend: the commands show its message alone and exit with 2."""
