"""Rule, case and result over changing symbols; importing this registers the family `lime`."""

from .family import Lime
from .ops import ops
from .problems import RewriteRule, Roles, rewritten, substitute
from .search import cases, matches, paths
from .settings import LONGEST, MIXED, LimeConfig

__all__ = [
    "LONGEST", "Lime", "LimeConfig", "MIXED", "RewriteRule", "Roles", "cases", "matches",
    "ops", "paths", "rewritten", "substitute",
]
