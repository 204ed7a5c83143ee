"""The exception for errors that the user can fix."""


class AudioRNNError(Exception):
    """Invalid input or an impossible request, explained in one line for the user.

    It names the file or parameter, the value it had, and what would be right. Command-line entry points print it
    without a traceback and exit with a non-zero code.
    """
