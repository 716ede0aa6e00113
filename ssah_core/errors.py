"""The errors that users meet.

Every message is one clear sentence (two where the remedy needs its own) that says what is wrong and
what to do next. The command line prints it on one line and exits with status 2; the screens show it
without a traceback. Anything that is not an `SsahError` is a bug of ours.
"""


class SsahError(Exception):
    """What a user can mend; the message names the remedy."""


class ModelError(SsahError):
    """A model that cannot be found, loaded, trusted or understood."""


class PromptError(SsahError):
    """A prompt set or a prompt that cannot be read or does not fit the model."""


class AblationError(SsahError):
    """An ablation that cannot be built, or that did not act where it should have."""


class RunError(SsahError):
    """A run folder that cannot be read, written, or belongs to another model."""


class OptionError(SsahError):
    """An option outside what the method allows, such as shares that sum above 1."""


class Cancelled(SsahError):
    """The user stopped a job; nothing of it was kept unless the message says so."""
