"""Many notebooks, one list. The pages behind these names are `pptrain.study.one_run` and `pptrain.study.grid`."""
from .study.grid import Manifest as Manifest
from .study.grid import plan as plan
from .study.grid import replications as replications
from .study.grid import run_grid as run_grid
from .study.one_run import RunSpec as RunSpec
from .study.one_run import execute as execute
from .study.one_run import run_folder as run_folder
