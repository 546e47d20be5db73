"""Where models come from, and what they are made of."""
from .adapters import (
    CallableAdapterConfig as CallableAdapterConfig,
    CallableCausalLMAdapter as CallableCausalLMAdapter,
    CausalLMAdapter as CausalLMAdapter,
    HFCausalLMAdapter as HFCausalLMAdapter,
    VocabSizeCausalLMAdapter as VocabSizeCausalLMAdapter,
    check_model as check_model,
    is_causal as is_causal,
)
from .architectures import (
    HFModelConfig as HFModelConfig,
    build as build,
    context_length as context_length,
    hub_reachable as hub_reachable,
    model_config as model_config,
    quiet as quiet,
)
from .attention import (
    Piece as Piece,
    pieces as pieces,
)
from .weights import (
    parts as parts,
    plain_state as plain_state,
    storage as storage,
    ties as ties,
    token_modules as token_modules,
    weights_sha256 as weights_sha256,
    write_model as write_model,
)
from .wrappers import (
    named as named,
    unwrapped as unwrapped,
)
