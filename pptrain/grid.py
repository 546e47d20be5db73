"""Many notebooks, one list. The page behind these names is `pptrain.study.grid`."""
from .study.grid import Manifest as Manifest
from .study.grid import RunSpec as RunSpec
from .study.grid import execute as execute
from .study.grid import plan as plan
from .study.grid import replications as replications
from .study.grid import run_folder as run_folder
from .study.grid import run_grid as run_grid
