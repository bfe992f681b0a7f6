"""The one error tree that the dock and the command line catch."""

# Choices that the text of an error lists; a time series may have hundreds.
_LISTED = 40


class MedSAMQError(Exception):
    """Something about the user's file, box, model or target; the text says what to do."""


class VolumeError(MedSAMQError):
    """An image that cannot be read, or whose geometry or values cannot be trusted."""


class ChoiceError(VolumeError):
    """Several volumes where one is needed; it says which there are.

    Parameters
    ----------
    text : str
        All but how to choose and the list.
    option : "series" or "volume"
        The argument of `read_volume`, and of the command line, that chooses; a column of a batch.
    choices : dict of str to str
        What each value of that argument stands for.
    """

    def __init__(self, text: str, option: str, choices: dict[str, str]) -> None:
        lines = [f"\n  {value}: {meaning}" for value, meaning in choices.items()]
        more = f"\n  ... and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
        listing = "".join(lines[:_LISTED]) + more
        super().__init__(
            f"{text} Open it by the buttons of the dock, which asks, or choose one of these by "
            f"--{option} on the command line (for a batch in the column {option}).{listing}"
        )
        self.problem = text
        self.option = option
        self.choices = choices


class UnevenSlicesError(VolumeError):
    """Slices that make no even stack, but can be resampled to one."""


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


class ProvenanceError(MedSAMQError):
    """What lies beside a label and should tell how it came about is missing or damaged."""


class CohortError(MedSAMQError):
    """A table, an output folder or a cluster that a batch cannot run with."""


class StoppedError(MedSAMQError):
    """What was on its way when the user stopped it."""
