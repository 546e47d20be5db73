"""Bracket languages, nested and crossing; importing this registers the family `dyck`."""

from .family import Dyck
from .settings import CROSSED, NESTED, DyckConfig
from .structure import bracket_facts, depth, match, prefix_valid, valid

__all__ = [
    "CROSSED", "Dyck", "DyckConfig", "NESTED", "bracket_facts", "depth", "match",
    "prefix_valid", "valid",
]
