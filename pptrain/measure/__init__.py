"""Numbers about models: what a token costs, whether an answer is right, how many tokens were saved; by name."""
from .answers import exact_match as exact_match
from .events import log_rank_scores as log_rank_scores
from .events import sooner as sooner
from .events import time_to_event as time_to_event
from .losses import evaluating as evaluating
from .losses import perplexity as perplexity
from .losses import scored_batches as scored_batches
from .losses import token_scores as token_scores
from .measures import create_measure as create_measure
from .measures import register_measure as register_measure
from .measures import registered_measures as registered_measures
from .savings import after_warmup as after_warmup
from .savings import gains as gains
from .savings import loss_at as loss_at
from .savings import mrs as mrs
from .savings import token_saving as token_saving
from .savings import tokens_to_reach as tokens_to_reach
