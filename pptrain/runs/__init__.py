"""Runs that can be killed at any moment and started again: one loop for both stages."""
from .evaluation import EvalConfig as EvalConfig
from .evaluation import MeasureTask as MeasureTask
from .evaluation import check_eval as check_eval
from .evaluation import run_transfer_evaluation as run_transfer_evaluation
from .fit import Diverged as Diverged
from .freeze import Freeze as Freeze
from .folder import history_rows as history_rows
from .recipe import Recipe as Recipe
from .recipe import load_recipe as load_recipe
from .settings import RunConfig as RunConfig
from .text import TextRun as TextRun
from .text import learn_text as learn_text
from .text import train_on_text as train_on_text
from .trainer import PrePreTrainer as PrePreTrainer
from .trainer import PrePreTrainingRun as PrePreTrainingRun
