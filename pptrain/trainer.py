"""The old address of `pptrain.runs`."""
from .runs import Diverged as Diverged
from .runs import PrePreTrainer as PrePreTrainer
from .runs import PrePreTrainingRun as PrePreTrainingRun
from .runs import RunConfig as RunConfig
from .runs import history_rows as history_rows
