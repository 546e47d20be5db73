"""Text by random recurrent networks; importing this registers the family `random_rnn`."""
from .family import RandomRNN, RandomRNNConfig

__all__ = ["RandomRNN", "RandomRNNConfig"]
