"""Which numbers cross from one model to the next: policies, their bundle, and the report."""
from ..integrations.weights import parts as parts
from .bundle import (
    MANIFEST as MANIFEST,
    TransferBundle as TransferBundle,
    versions as versions,
)
from .checkpoints import load_state as load_state
from .components import (
    ComponentTransferPolicy as ComponentTransferPolicy,
    register_component as register_component,
)
from .mixtures import (
    MixtureTransferPolicy as MixtureTransferPolicy,
    mix as mix,
)
from .policies import (
    ReinitializeEmbeddingTransferPolicy as ReinitializeEmbeddingTransferPolicy,
    SkipParametersTransferPolicy as SkipParametersTransferPolicy,
    TransferPolicy as TransferPolicy,
    carry as carry,
    create_policy as create_policy,
    policies as policies,
    register_policy as register_policy,
    registered_policies as registered_policies,
)
from .report import (
    Fate as Fate,
    TransferReport as TransferReport,
    parameter_bars as parameter_bars,
)
from .statistics import (
    LayerShuffledTransferPolicy as LayerShuffledTransferPolicy,
    MimeticTransferPolicy as MimeticTransferPolicy,
    NormConstantTransferPolicy as NormConstantTransferPolicy,
    RandomHeadsTransferPolicy as RandomHeadsTransferPolicy,
    RandomWeightsTransferPolicy as RandomWeightsTransferPolicy,
    StatisticsTransferPolicy as StatisticsTransferPolicy,
)
from .rules import (
    register_embedding_rule as register_embedding_rule,
)
