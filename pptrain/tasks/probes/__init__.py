"""Skills that are learnt suddenly, as data; importing this registers the family `probes`."""

from .family import Probes, draw_haystack, draw_numbers, haystack_row, probe_vocab, sum_row
from .settings import LARGEST, PROBE_PRESETS, PROBES, ProbesConfig, probe_width

__all__ = [
    "LARGEST", "PROBES", "PROBE_PRESETS", "Probes", "ProbesConfig", "draw_haystack",
    "draw_numbers", "haystack_row", "probe_vocab", "probe_width", "sum_row",
]
