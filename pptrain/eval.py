"""Did it help? Measures of a model, training on text, and the comparison of both starts: the names of earlier releases."""
from .measure import evaluating as evaluating
from .measure import exact_match as exact_match
from .measure import perplexity as perplexity
from .measure import token_scores as token_scores
from .runs.evaluation import EvalConfig as EvalConfig
from .runs.evaluation import PerplexityTask as PerplexityTask
from .runs.evaluation import check_eval as check_eval
from .runs.evaluation import run_transfer_evaluation as run_transfer_evaluation
from .runs.text import train_on_text as train_on_text
