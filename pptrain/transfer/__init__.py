"""Which numbers cross from one model to the next: policies, the bundle they travel in, and the report."""
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
from .policies import (
    ComponentTransferPolicy as ComponentTransferPolicy,
    ReinitializeEmbeddingTransferPolicy as ReinitializeEmbeddingTransferPolicy,
    SkipParametersTransferPolicy as SkipParametersTransferPolicy,
    TransferPolicy as TransferPolicy,
    carry as carry,
    create_policy as create_policy,
    leave_group as leave_group,
    register_component as register_component,
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
from .rules import (
    mean_rows as mean_rows,
    match_rows as match_rows,
    register_embedding_rule as register_embedding_rule,
)

transfer_policy = create_policy  # the earlier name
skyline = parameter_bars  # the earlier name
