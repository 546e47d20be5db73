"""Skills that are learnt suddenly, as data; importing this registers the family `probes`."""

from .family import Probes, draw_haystack, draw_numbers, haystack_row, probe_vocab, sum_row
from .settings import LARGEST, PROBES, ProbesConfig

__all__ = [
    "LARGEST", "PROBES", "Probes", "ProbesConfig", "draw_haystack",
    "draw_numbers", "haystack_row", "probe_vocab", "sum_row",
]
