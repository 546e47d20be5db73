"""A stream of a family, or of any addressed dataset, as files for other trainers."""
from .formats import FORMATS as FORMATS
from .work import Generated as Generated
from .work import generate as generate
from .sharing import push_to_hub as push_to_hub
from .sharing import write_card as write_card
