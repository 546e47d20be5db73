"""Packed rows: the same documents, losses and weights, however a run is interrupted."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from pptrain import PrePreTrainer, RunConfig, create_task, load_recipe
from pptrain.data import Collate
from pptrain.data.packing import PackCollate, shared_rows
from pptrain.errors import InputError
from pptrain.integrations import (
    HFCausalLMAdapter, HFModelConfig, VocabSizeCausalLMAdapter)
from pptrain.runs import train_on_text
from pptrain.runs.packing import keeps_apart
from pptrain.vocab import TokenizerSpec

TINY = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
SHAPES = {
    "gpt2": dict(n_embd=16, n_layer=2, n_head=2, n_positions=256, attn_pdrop=0.0, embd_pdrop=0.0,
                 resid_pdrop=0.0),
    "llama": TINY | dict(num_key_value_heads=1),
    "gpt_neox": TINY,
    "qwen2": TINY | dict(num_key_value_heads=1)}
ONE_AFTER_THE_OTHER = {
    "mamba": dict(hidden_size=16, num_hidden_layers=2, state_size=4),
    "bloom": dict(hidden_size=16, n_layer=2, n_head=2)}


def adapter(name, **more):
    shape = {**SHAPES, **ONE_AFTER_THE_OTHER}[name]
    return HFCausalLMAdapter(HFModelConfig(name, config_overrides={**shape, **more}))


def fresh(name, task):
    torch.manual_seed(0)
    return adapter(name).create_prepretrain_model(task.tokenizer_spec())


def loss_and_gradient(model, batch):
    model.zero_grad()
    loss = model(**batch).loss
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("family, size", [
    ("lime", 220), ("lime", 256), ("lime", 700), ("probes", 19), ("probes", 64),
    ("simpler_tasks", 100), ("summarization", 256), ("procedural", 28), ("procedural", 300)])
def test_loss_and_gradient_are_those_of_unpacked_rows(name, family, size):
    task = create_task(family, preset="smoke")
    data = task.build_datasets(seed=4)
    rows = data.train_dataset.__getitems__(range(13))
    model = fresh(name, task)
    plain, packed = data.data_collator, PackCollate(data.data_collator, size)
    (one, slope), (many, other) = (loss_and_gradient(model, c(rows)) for c in (plain, packed))
    assert packed(rows)["input_ids"].shape[1] == size
    assert abs(one - many) < 1e-5
    assert torch.allclose(slope, other, atol=1e-5)


def test_nothing_is_lost_and_nothing_twice():
    data = create_task("lime", preset="smoke").build_datasets(seed=1)
    for count in (1, 2, 7, 40):
        rows = [data.train_dataset[i] for i in range(count)]
        packed = PackCollate(data.data_collator, 256, pad_token_id=0).with_mask(rows)
        starts = (packed["position_ids"] == 0) & (packed["attention_mask"] == 1)
        found = []
        for row, begin in starts.nonzero().tolist():
            ends = [p for r, p in starts.nonzero().tolist() if r == row and p > begin]
            end = min(ends, default=int(packed["attention_mask"][row].sum()))
            found.append(packed["input_ids"][row, begin:end].tolist())
        assert sorted(found) == sorted(row["input_ids"].tolist() for row in rows)
        carried = sum(int((row["labels"][1:] != -100).sum()) for row in rows)
        assert int((packed["labels"][:, 1:] != -100).sum()) == carried


def test_rows_are_few_and_no_row_overflows():
    draws = np.random.default_rng(0)
    for size in (32, 100, 500):
        lengths = draws.integers(0, 33, 300).tolist()
        rows = shared_rows(lengths, size)
        assert sorted(i for row in rows for i in row) == list(range(300))
        assert max(sum(lengths[i] for i in row) for row in rows) <= size
        assert len(rows) <= 1.25 * sum(lengths) / size + 1    # first fit decreasing: 11/9 and a row


# runs

class Crash(TrainerCallback):
    def on_step_end(self, args, state, control, **more):
        if state.global_step == 7:
            raise RuntimeError("power cut")


def trainer(folder, model="llama", callbacks=(), **more):
    task = create_task("lime", preset="smoke", sequence_count=80, eval_sequence_count=8)
    fields = dict(num_train_epochs=1.25, save_steps=4, logging_steps=2, eval_steps=6)
    config = RunConfig(folder, **{**fields, "packing": 256, **more})
    return PrePreTrainer(task, adapter(model), config, callbacks)


def diary(run, metric):
    return run.history().query("metric == @metric").set_index("step").value


@pytest.mark.parametrize("model", ["gpt2", "llama"])
def test_a_run_has_the_losses_and_tokens_of_the_unpacked_one(tmp_path, model, capfd):
    packed = trainer(tmp_path / "packed", model).fit()
    assert "packing: documents in rows of 256 tokens, kept apart" in capfd.readouterr().err
    plain = trainer(tmp_path / "plain", model, packing=None).fit()
    assert "packing" not in capfd.readouterr().err
    assert packed.metrics["tokens_seen"] == plain.metrics["tokens_seen"] > 10_000
    assert packed.metrics["steps"] == plain.metrics["steps"] == 13
    for metric in ("train_loss", "eval_loss"):
        assert (diary(packed, metric) - diary(plain, metric)).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("model", ["gpt2", "mamba"])
def test_a_run_that_is_broken_off_ends_with_the_same_weights(tmp_path, model):
    whole = trainer(tmp_path / "a", model).fit()
    with pytest.raises(RuntimeError, match="power cut"):
        trainer(tmp_path / "b", model, [Crash()]).fit()
    again = trainer(tmp_path / "b", model).fit()
    assert again.metrics["weights_sha256"] == whole.metrics["weights_sha256"]
    assert again.history().equals(whole.history())
    spread = trainer(tmp_path / "c", model, dataloader_num_workers=2).fit()
    assert spread.metrics["weights_sha256"] == whole.metrics["weights_sha256"]


@pytest.mark.slow
def test_a_step_of_several_batches_weighs_tokens_alike(tmp_path):
    whole = trainer(tmp_path / "8", per_device_train_batch_size=8)
    parts = trainer(tmp_path / "4", per_device_train_batch_size=4, gradient_accumulation_steps=2)
    difference = diary(whole.fit(), "train_loss") - diary(parts.fit(), "train_loss")
    assert difference.abs().max() < 1e-5


def test_another_packing_is_another_run(tmp_path):
    trainer(tmp_path / "a").fit()
    with pytest.raises(InputError, match="packing"):
        trainer(tmp_path / "a", packing=300).fit()


class Mean(torch.nn.Module):
    "Attention by hand; positions are not taken from outside."
    def __init__(self, vocab_size):
        super().__init__()
        self.embed = torch.nn.Embedding(vocab_size, 8)
        self.head = torch.nn.Linear(8, vocab_size)

    def forward(self, input_ids, attention_mask=None, labels=None):
        seen = self.embed(input_ids).cumsum(1) / torch.arange(1, input_ids.shape[1] + 1)[:, None]
        logits = self.head(seen)
        loss = None
        if labels is not None:
            loss = torch.nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return {"loss": loss, "logits": logits}


def test_a_model_that_cannot_keep_them_apart_reads_one_after_the_other(tmp_path, capfd):
    task = create_task("lime", preset="smoke", sequence_count=40)
    by_hand = VocabSizeCausalLMAdapter(
        create_prepretrain_model=Mean, load_downstream_model=lambda: Mean(300), name="mean")
    run = PrePreTrainer(task, by_hand, RunConfig(tmp_path / "a", packing=256)).fit()
    assert "one after the other, token 1 between" in capfd.readouterr().err
    assert run.metrics["steps"] == 5


@pytest.mark.parametrize("name", ONE_AFTER_THE_OTHER)
def test_such_models_are_noticed(name):
    assert not keeps_apart(fresh(name, create_task("lime", preset="smoke")))


@pytest.mark.parametrize("fields, says", [
    (dict(packing=64), "documents have up to 220 tokens; give packing=220"),
    (dict(packing=0), "above zero"), (dict(packing="wide"), "packing='wide'"),
    (dict(packing=220, model="mamba"), "packing=221")])
def test_what_cannot_be_packed_leaves_no_folder(tmp_path, fields, says):
    with pytest.raises(InputError, match=says):
        trainer(tmp_path / "never", **fields).fit()
    assert not (tmp_path / "never").exists()


def test_no_end_token_and_no_separation_is_refused(tmp_path):
    task = create_task("dyck", preset="smoke")
    config = RunConfig(tmp_path / "never", packing=256)
    with pytest.raises(InputError, match="no end token to put between"):
        PrePreTrainer(task, adapter("mamba"), config).fit()
    assert not (tmp_path / "never").exists()


def test_a_recipe_says_it(tmp_path):
    recipe = load_recipe({
        "task": {"name": "lime", "config": {"preset": "smoke"}},
        "model": {"model_name_or_path": "llama", "config_overrides": SHAPES["llama"]},
        "run": {"output_dir": str(tmp_path / "run"), "max_steps": 2}}, ["run.packing=256"])
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "recipe.yaml") == recipe
    assert ("run", "packing", 256, "given") in recipe.settings()
    assert recipe.fit().metrics["steps"] == 2


def test_the_text_stage_packs_rows_of_all_lengths(tmp_path):
    draws = np.random.default_rng(0)
    rows = []
    for length in draws.integers(2, 30, 64):
        ids = torch.as_tensor(draws.integers(0, 20, length))
        rows.append({"input_ids": ids, "labels": ids, "attention_mask": torch.ones_like(ids)})

    def learn(**more):
        torch.manual_seed(0)
        model = adapter("llama").create_prepretrain_model(TokenizerSpec(20, pad_token_id=0))
        return train_on_text(model, rows, rows[:8], steps=6, batch_size=8, learning_rate=1e-3,
                             eval_every=3, **more)

    plain, packed = learn(), learn(packing=40)
    assert [row["tokens"] for row in plain] == [row["tokens"] for row in packed]
    for one, other in zip(plain, packed):
        assert one["value"] == pytest.approx(other["value"], abs=1e-5)


def test_the_collator_travels():
    import pickle
    pack = pickle.loads(pickle.dumps(PackCollate(Collate(3), 9).with_mask))
    row = torch.arange(4)
    batch = pack([{"input_ids": row, "labels": row, "attention_mask": torch.ones_like(row)}] * 3)
    assert batch["input_ids"].tolist() == [[0, 1, 2, 3, 0, 1, 2, 3, 0], [0, 1, 2, 3] + [0] * 5]
