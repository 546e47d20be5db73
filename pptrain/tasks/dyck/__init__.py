"""Bracket languages, nested and crossing; importing this registers the family `dyck`."""

from .family import Dyck, dyck_vocab
from .languages import bracket_sequence, dyck_word, shuffle_word
from .settings import CROSSED, NESTED, DyckConfig
from .structure import bracket_facts, depth, match, prefix_valid, valid

__all__ = [
    "CROSSED", "Dyck", "DyckConfig", "NESTED", "bracket_facts",
    "bracket_sequence", "depth", "dyck_vocab", "dyck_word", "match",
    "prefix_valid", "shuffle_word", "valid",
]
