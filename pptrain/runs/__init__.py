"""Runs that can be killed at any moment and started again: one loop for the synthetic stage and the stage on text."""
from .fit import Diverged as Diverged
from .folder import history_rows as history_rows
from .settings import RunConfig as RunConfig
from .trainer import PrePreTrainer as PrePreTrainer
from .trainer import PrePreTrainingRun as PrePreTrainingRun
