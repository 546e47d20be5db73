"""A word and its echo; importing this registers the family `repetition`."""
from .family import Repetition, RepetitionConfig

__all__ = ["Repetition", "RepetitionConfig"]
