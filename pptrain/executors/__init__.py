"""Where jobs are worked on: on this machine, on a Ray cluster, in the queue of Slurm; by name."""
from .base import create_executor as create_executor
from .base import Done as Done
from .base import Executor as Executor
from .base import register_executor as register_executor
from .base import WorkerLost as WorkerLost
from .mailbox import Stopped as Stopped
