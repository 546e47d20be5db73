"""Which numbers cross from one model to the next: policies, their bundle, and the report."""
from ..integrations.weights import part_by_name as part_by_name, parts as parts, ties as ties
from .bundle import (
    FORMAT_VERSION as FORMAT_VERSION,
    MANIFEST as MANIFEST,
    TransferBundle as TransferBundle,
    file_facts as file_facts,
    file_sha256 as file_sha256,
    find_bundle as find_bundle,
    sealed as sealed,
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
    leave_group as leave_group,
    policies as policies,
    register_policy as register_policy,
    registered_policies as registered_policies,
)
from .report import (
    OUTCOMES as OUTCOMES,
    Fate as Fate,
    TransferReport as TransferReport,
    bar as bar,
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
    embedding_rules as embedding_rules,
    register_embedding_rule as register_embedding_rule,
)
