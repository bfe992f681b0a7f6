"""The one error tree that the dock and the command line catch."""


class MedSAMQError(Exception):
    """Something about the user's file, box, model or target; the text says what to do."""


class VolumeError(MedSAMQError):
    """An image that cannot be read, or whose geometry or values cannot be trusted."""


class PromptError(MedSAMQError):
    """A prompt that does not describe anything in the volume."""


class ModelError(MedSAMQError):
    """A model directory that is missing, altered, or not of the expected contract."""


class SaveError(MedSAMQError):
    """A label that could not be written or did not read back as drawn."""


class PreferenceError(MedSAMQError):
    """A preference whose value cannot be used."""


class JournalError(MedSAMQError):
    """A journal that cannot be read or written, or is another volume's."""


class JournalChangedError(JournalError):
    """A journal that another window has gone on with since it was read."""
