"""A bundle carries its policy as a value, and bundles from before can be read."""
from __future__ import annotations

import json

import pytest
import torch

from pptrain.errors import InputError
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.transfer import (
    MANIFEST,
    ComponentTransferPolicy,
    ReinitializeEmbeddingTransferPolicy,
    TransferBundle,
)
from pptrain.transfer.bundle import sealed
from pptrain.vocab import TokenizerSpec


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    adapter = HFCausalLMAdapter(HFModelConfig("gpt2-1_2_8", config_overrides={"n_positions": 16}))
    return adapter.create_prepretrain_model(TokenizerSpec(9, pad_token_id=0))


def save(model, folder, **options):
    return TransferBundle.save(model, folder, task_name="t", task_config={"a": 1},
                               tokenizer_spec=TokenizerSpec(9, pad_token_id=0), **options)


def rewrite(bundle, verify=True, **changes):
    "The bundle as an earlier release would have written it; None removes from its manifest."
    manifest = json.loads((bundle.path / MANIFEST).read_text())
    del manifest["manifest_sha256"]
    manifest |= changes
    kept = {name: value for name, value in manifest.items() if value is not None}
    (bundle.path / MANIFEST).write_bytes(sealed(kept))
    return TransferBundle.load(bundle.path, verify=verify)


@pytest.mark.parametrize("policy", [
    ComponentTransferPolicy(["attn"], layers=[0]),
    ReinitializeEmbeddingTransferPolicy("mean"),
    "skip_parameters",
    {"name": "reinit_embeddings", "positions": "fresh"},
], ids=str)
def test_the_recommended_policy_travels(model, tmp_path, policy):
    bundle = save(model, tmp_path, transfer_policy=policy)
    again = TransferBundle.load(tmp_path)
    assert again == bundle and again.policy.to_dict() == bundle.transfer_policy
    assert again.policy.name == again.transfer_policy_name
    assert again.policy.apply_bundle(again, model).policy == again.transfer_policy


def test_bundles_from_before(model, tmp_path):
    bundle = save(model, tmp_path, training={"steps": 3}, fingerprint="f")
    silent = rewrite(bundle, transfer_policy=None)
    assert silent.policy == ReinitializeEmbeddingTransferPolicy()
    assert (silent.training, silent.fingerprint) == ({"steps": 3}, "f")
    named = rewrite(bundle, transfer_policy=None, transfer_policy_name="reinit_embeddings")
    assert named.policy == ReinitializeEmbeddingTransferPolicy()
    assert named.transfer_policy_name == "reinit_embeddings"


def test_a_stranger_s_policy_waits(model, tmp_path):
    bundle = rewrite(save(model, tmp_path), transfer_policy={"name": "theirs", "depth": 2})
    assert bundle.transfer_policy_name == "theirs" and bundle.state_dict()
    with pytest.raises(InputError, match="unknown transfer policy 'theirs'"):
        _ = bundle.policy


def test_a_key_that_nobody_wrote_is_named(model, tmp_path):
    with pytest.raises(InputError, match="unknown key 'traning'; did you mean 'training'"):
        rewrite(save(model, tmp_path), traning={})


def test_an_unknown_policy_is_not_written(model, tmp_path):
    with pytest.raises(InputError, match="did you mean 'components'"):
        save(model, tmp_path, transfer_policy="component")
    assert not list(tmp_path.iterdir())


def stored(bundle, place):
    "The bundle as a download cache keeps it: a snapshot of links into a store of blobs."
    snapshot = place / "snapshots" / "main"
    (place / "blobs").mkdir(parents=True)
    for number, name in enumerate([MANIFEST, *bundle.files]):
        blob, link = place / "blobs" / str(number), snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes((bundle.path / name).read_bytes())
        link.symlink_to(blob)
    return snapshot


def test_links_into_a_store(model, tmp_path):
    bundle = save(model, tmp_path / "run")
    snapshot = stored(bundle, tmp_path / "cache")
    state = TransferBundle.load(snapshot).state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in bundle.state_dict().items())
    blob = (snapshot / "model" / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(InputError, match="damaged"):
        TransferBundle.load(snapshot)


@pytest.mark.parametrize("name", ["../out", "model/../../out", "/etc/hostname", "\\\\host\\out",
                                  "C:\\out", "C:out", "model\\..\\..\\out"])
@pytest.mark.parametrize("verify", [True, False])
def test_names_stay_inside(model, tmp_path, name, verify):
    bundle = save(model, tmp_path)
    (tmp_path / "out").write_text("x")
    with pytest.raises(InputError, match="outside the bundle"):
        rewrite(bundle, verify=verify, files=bundle.files | {name: {"bytes": 1, "sha256": ""}})


@pytest.mark.parametrize("files", [{}, [], "model", {"model": 3}, {"model": {"bytes": 3}}, None],
                         ids=str)
def test_a_manifest_without_files_is_damaged(model, tmp_path, files):
    with pytest.raises(InputError, match=r"damaged.*copy the bundle again"):
        rewrite(save(model, tmp_path), files=files)


def test_a_linked_bundle_is_unlinked(model, tmp_path):
    first = save(model, tmp_path / "first")
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "bundle").symlink_to(first.path)
    second = save(model, tmp_path / "second", fingerprint="new")
    assert not second.path.is_symlink() and TransferBundle.load(first.path) == first
