"""The one exception that users are meant to read."""


class AudioRNNError(Exception):
    """Bad input or an impossible request; its text is one clear line for the person at the terminal.

    It names the file or parameter, the value it had, and what would be right. Command-line entry points print it
    without a traceback and exit with a non-zero code.
    """
