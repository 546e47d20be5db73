"""Stands in for `pptrain.transfer.create_policy` until that room is merged; then import it from there."""
from __future__ import annotations

from typing import Any

try:
    from ..transfer import create_policy
except ImportError:
    from ..errors import InputError
    from ..transfer import TransferPolicy, transfer_policy

    class _Named(TransferPolicy):
        "A policy and the mapping that made it."

        def __init__(self, settings: dict[str, Any]):
            self.settings = settings
            options = {k: v for k, v in settings.items() if k != "name"}
            self.policy = transfer_policy(settings["name"], **options)
            self.leave, self.fill = self.policy.leave, self.policy.fill

        def to_dict(self) -> dict[str, Any]:
            return dict(self.settings)

    def create_policy(policy: Any, **options: Any) -> Any:
        "A policy by name or mapping."
        if isinstance(policy, TransferPolicy):
            return policy
        settings = {"name": policy} if isinstance(policy, str) else dict(policy)
        if settings.get("name") in ("reinitialize_embeddings", "reinit_embeddings"):
            settings = {"embeddings": "fresh", "positions": "copy", **settings,
                        "name": "reinit_embeddings"}
        try:
            return _Named({**settings, **options})
        except ValueError as e:
            raise InputError(str(e)) from None
