"""Bundles on the Hub: against a stand-in that keeps repositories as folders, and without one."""
from __future__ import annotations

import fnmatch
import json
import shutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors
from transformers import AutoConfig, AutoModelForCausalLM

from pptrain.errors import InputError
from pptrain.transfer import MANIFEST, TransferBundle

http = import_module("httpx2" if find_spec("httpx2") else "httpx")     # the Hub's client


def answer(kind, status):
    "The exception of `kind` as an answer of the Hub raises it."
    request = http.Request("GET", "https://hub.test/api")
    return kind("no", response=http.Response(status, request=request))


class Url(str):
    "An address that knows its repository, as the Hub's do."
    @property
    def repo_id(self):
        return self.removeprefix("https://hub.test/")


class Hub:
    "Repositories as folders: owner/name@branch."
    def __init__(self, root: Path):
        self.root = root
        self.asked: list[dict] = []

    def place(self, repo_id, revision=None):
        return self.root / f"{repo_id}@{revision or 'main'}"

    def create_repo(self, repo_id, *, private=None, exist_ok=False):
        if self.place(repo_id).exists() and not exist_ok:
            raise answer(errors.HfHubHTTPError, 409)
        self.place(repo_id).mkdir(parents=True, exist_ok=True)
        self.asked.append({"private": private})
        return Url(f"https://hub.test/{repo_id}")

    def create_branch(self, repo_id, *, branch, exist_ok=False):
        self.place(repo_id, branch).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, delete_patterns, revision=None,
                      commit_message=None):
        there = self.place(repo_id, revision)
        for path in [p for p in there.rglob("*") if p.is_file()]:
            if any(fnmatch.fnmatch(path.relative_to(there).as_posix(), p) for p in delete_patterns):
                path.unlink()
        for path in [p for p in Path(folder_path).rglob("*") if p.is_file()]:
            name = path.relative_to(folder_path).as_posix()
            if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (there / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, there / name)

    def snapshot_download(self, repo_id, *, revision=None, token=None, allow_patterns=None,
                          library_name=None):
        there, here = self.place(repo_id, revision), self.root / "cache" / repo_id
        if not self.place(repo_id).exists():
            raise answer(errors.RepositoryNotFoundError, 404)
        if not there.exists():
            raise answer(errors.RevisionNotFoundError, 404)
        shutil.rmtree(here, ignore_errors=True)
        for path in [p for p in there.rglob("*") if p.is_file()]:
            name = path.relative_to(there).as_posix()
            if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (here / name).parent.mkdir(parents=True, exist_ok=True)
                (here / name).symlink_to(path)      # as the cache does
        here.mkdir(parents=True, exist_ok=True)
        return str(here)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    standin = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **options: standin)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", standin.snapshot_download)
    return standin


SHAPE = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
             max_position_embeddings=32, vocab_size=40, bos_token_id=0, eos_token_id=0)
KINDS = {
    "gpt2, tied": ("gpt2", {}),
    "llama, tied": ("llama", {"tie_word_embeddings": True}),
    "llama, untied": ("llama", {"tie_word_embeddings": False}),
    "gpt_neox": ("gpt_neox", {}),
    "opt": ("opt", {"ffn_dim": 32, "word_embed_proj_dim": 16}),
    "qwen2": ("qwen2", {}),
    "mistral": ("mistral", {"num_key_value_heads": 1}),
    "bloom": ("bloom", {}),
    "mamba": ("mamba", {}),
    "gpt_bigcode": ("gpt_bigcode", {}),
}


def model_of(kind, seed=0):
    torch.manual_seed(seed)
    name, settings = KINDS[kind]
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **{**SHAPE, **settings}))


def save(folder, kind="gpt2, tied", **options):
    return TransferBundle.save(model_of(kind), folder, **{**dict(
        task_name="dyck", task_config={"length": 64}, preset="smoke", fingerprint="f",
        tokenizer_spec={"vocab_size": 40}, training={"eval_loss": 1.25, "tokens_seen": 1000}),
        **options})


@pytest.mark.parametrize("shard", ["5GB", 9000], ids=["whole", "sharded"])
@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_the_directory(tmp_path, kind, shard):
    "Bit for bit, without pptrain, whatever is tied and however many files there are."
    bundle = save(tmp_path, kind, max_shard_size=shard)
    files = list(bundle.model_dir.glob("*.safetensors"))
    assert (len(files) > 1) == (shard == 9000)
    read, told = AutoModelForCausalLM.from_pretrained(bundle.model_dir, output_loading_info=True)
    assert not any(told[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    trained = model_of(kind).state_dict()
    for name, tensor in read.state_dict().items():
        assert torch.equal(tensor, trained[name]), name


def test_there_and_back(hub, tmp_path):
    bundle = save(tmp_path / "run", max_shard_size=9000)
    (bundle.path / "model" / "notes.txt").write_text("mine")
    (bundle.path / "secret").write_text("mine")
    address = bundle.push_to_hub("me/brackets", private=True)
    assert address == "https://hub.test/me/brackets" and hub.asked == [{"private": True}]
    there = [p for p in hub.place("me/brackets").rglob("*") if p.is_file()]
    names = {p.relative_to(hub.place("me/brackets")).as_posix() for p in there}
    assert names == {MANIFEST, *bundle.files} and "README.md" in names
    again = TransferBundle.from_hub("me/brackets")
    assert again.path != bundle.path
    again.path = bundle.path
    assert again == bundle


def test_a_new_version_leaves_no_old_shards(hub, tmp_path):
    save(tmp_path / "a", max_shard_size=9000).push_to_hub("me/x")
    save(tmp_path / "b").push_to_hub("me/x")
    weights = [p.name for p in hub.place("me/x").rglob("*.safetensors")]
    assert weights == ["model.safetensors"]
    assert TransferBundle.from_hub("me/x").state_dict()


def test_revisions(hub, tmp_path):
    save(tmp_path / "a", fingerprint="one").push_to_hub("me/x")
    save(tmp_path / "b", fingerprint="two").push_to_hub("me/x", revision="v2")
    assert TransferBundle.from_hub("me/x").fingerprint == "one"
    assert TransferBundle.from_hub("me/x", revision="v2").fingerprint == "two"
    with pytest.raises(InputError, match="me/x has no revision 'v3'"):
        TransferBundle.from_hub("me/x", revision="v3")


def test_what_is_not_there_or_no_bundle(hub):
    with pytest.raises(InputError, match="there is no me/x on the Hub, or it is private"):
        TransferBundle.from_hub("me/x")
    hub.create_repo("me/model")
    (hub.place("me/model") / "config.json").write_text("{}")
    with pytest.raises(InputError, match="me/model holds no bundle"):
        TransferBundle.from_hub("me/model")


def test_damage_on_the_way_is_noticed(hub, tmp_path):
    bundle = save(tmp_path)
    bundle.push_to_hub("me/x")
    for name in ("README.md", "model/model.safetensors"):
        path = hub.place("me/x") / name
        good = path.read_bytes()
        path.write_bytes(good[:-1] + b"\x00")
        with pytest.raises(InputError, match="damaged"):
            TransferBundle.from_hub("me/x")
        path.write_bytes(good)
    (bundle.path / "model" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="has 3 bytes"):
        bundle.push_to_hub("me/y")
    assert not hub.place("me/y").exists()       # nothing was sent


@pytest.mark.parametrize("problem, said", [
    (errors.LocalTokenNotFoundError("no"), "hf auth login"),
    (answer(errors.HfHubHTTPError, 401), "hf auth login"),
    (answer(errors.HfHubHTTPError, 403), "may not touch me/x"),
    (http.ConnectError("no"), "cannot be reached"),
    (ConnectionError("no"), "cannot be reached"),
    (http.ReadTimeout("slow"), "cannot be reached"),
    (answer(errors.HfHubHTTPError, 500), "answers 500"),
], ids=lambda value: type(value).__name__)
def test_one_line_says_what_to_do(hub, tmp_path, monkeypatch, problem, said):
    def fail(*args, **options):
        raise problem
    monkeypatch.setattr(hub, "create_repo", fail)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    bundle = save(tmp_path)
    for attempt in (lambda: bundle.push_to_hub("me/x"), lambda: TransferBundle.from_hub("me/x")):
        with pytest.raises(InputError, match=said) as caught:
            attempt()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a/b/c", "me and you", "../up", "-x/y", 7, None])
def test_names_that_are_none(tmp_path, name):
    "With the library itself, offline."
    bundle = save(tmp_path)
    for attempt in (lambda: bundle.push_to_hub(name), lambda: TransferBundle.from_hub(name)):
        with pytest.raises(InputError, match="repo_id"):
            attempt()


def test_offline(tmp_path):
    with pytest.raises(InputError, match="cannot be reached"):
        save(tmp_path).push_to_hub("me/x")
    with pytest.raises(InputError, match="cannot be reached"):
        TransferBundle.from_hub("me/x")


def test_the_card(tmp_path):
    text = (save(tmp_path / "a").path / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: pptrain\n")
    for fact in ("preset smoke", "1.25", "3.689", "arXiv 2601.21725", "TransferBundle.from_hub",
                 "| length | `64` |", "| tokens | 1,000 |", f"| torch | {torch.__version__} |"):
        assert fact in text, fact
    assert (save(tmp_path / "b").path / "README.md").read_text() == text
    assert str(tmp_path) not in text


def test_a_card_of_no_family_and_no_config(tmp_path):
    bundle = TransferBundle.save(torch.nn.Linear(2, 2), tmp_path, task_name="nobody's",
                                 task_config={}, tokenizer_spec={})
    text = (bundle.path / "README.md").read_text()
    assert "AutoModel" not in text and "Cite" not in text


def earlier(bundle, folder, **changes):
    "The run directory that pptrain 0.3.0 would have left, with the paths of another machine."
    shutil.copytree(bundle.model_dir, folder / "prepretrained_model")
    told = {"run_dir": "C:\\runs\\dyck", "model_dir": "C:\\runs\\dyck\\prepretrained_model",
            "tokenizer_spec": {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": None,
                               "eos_token_id": None, "extra_token_ids": {}},
            "task_name": "dyck", "task_config": {"bracket_types": 8},
            "transfer_policy_name": "reinit_embeddings"}
    (folder / "transfer_bundle.json").write_text(json.dumps({**told, **changes}, indent=2))
    return folder


@pytest.mark.parametrize("shard", ["5GB", 9000], ids=["whole", "sharded"])
def test_a_run_of_before(tmp_path, shard):
    bundle = save(tmp_path / "now", "llama, untied", max_shard_size=shard)
    read = TransferBundle.load(earlier(bundle, tmp_path / "then"))
    state = bundle.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in read.state_dict().items())
    model = model_of("llama, untied", seed=1)
    report = read.policy.apply_bundle(read, model)
    assert report.loaded_parameter_count == len(state) - 2
    assert AutoModelForCausalLM.from_pretrained(read.model_dir).config.vocab_size == 40


def test_a_run_of_before_without_weights(tmp_path):
    folder = earlier(save(tmp_path / "now"), tmp_path / "then")
    shutil.rmtree(folder / "prepretrained_model")
    with pytest.raises(InputError, match="there are no weights in .*prepretrained_model"):
        TransferBundle.load(folder)
