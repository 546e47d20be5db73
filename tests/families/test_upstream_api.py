"""Families written for pptrain 0.3.0 run unchanged: names, signatures and meanings are kept."""
from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from conftest import ROOT

import pptrain
from pptrain import registered_presets, registered_tasks
from pptrain.core import (
    DatasetBundle,
    ExecutedSymbolicTask,
    SymbolicTask,
    SymbolicTaskFamily,
    Task,
    TaskPreset,
    TokenizerSpec,
    TokenSequenceTask,
    create_task,
    register_task,
)
from pptrain.core.registry import TASKS
from pptrain.errors import InputError

# one sequence at a time: the shortest family of 0.3.0's page on extending


@dataclass(slots=True)
class RepeatConfig:
    sequence_count: int = 32
    eval_sequence_count: int = 8
    max_length: int = 32
    symbols: int = 5


class RepeatTask(TokenSequenceTask):
    name = "repeat"

    def __init__(self, config: RepeatConfig) -> None:
        super().__init__(config)

    def tokenizer_spec(self) -> TokenizerSpec:
        size = 3 + self.config.symbols
        return TokenizerSpec(vocab_size=size, pad_token_id=2, bos_token_id=0, eos_token_id=1)

    def sample_example(self, rng: np.random.Generator,
                       spec: TokenizerSpec) -> tuple[list[int], dict]:
        length = int(rng.integers(2, 9))
        symbols = [3 + int(rng.integers(self.config.symbols)) for _ in range(length)]
        row = [spec.bos_token_id or 0, *symbols, *symbols, spec.eos_token_id or 1]
        return row, {"length": length}


# three verbs


@dataclass(slots=True)
class CompareConfig:
    sequence_count: int = 40
    eval_sequence_count: int = 10
    max_length: int = 24
    modes: tuple[str, ...] = ("larger", "smaller")


class CompareFamily(SymbolicTaskFamily):
    name = "compare"
    task_group_metadata_key = "mode"
    max_sampling_attempts = 64

    def tokenizer_spec(self) -> TokenizerSpec:
        return TokenizerSpec(vocab_size=16, pad_token_id=0, bos_token_id=1, eos_token_id=2,
                             extra_token_ids={"larger": 3, "smaller": 4, "equals": 5})

    def sample_task(self, rng: np.random.Generator) -> SymbolicTask:
        mode = self.config.modes[int(rng.integers(len(self.config.modes)))]
        values = rng.integers(0, 10, size=int(rng.integers(2, 6))).tolist()
        return SymbolicTask(name=mode, payload=values, metadata={"operands": len(values)})

    def execute_task(self, task: SymbolicTask) -> ExecutedSymbolicTask:
        answer = max(task.payload) if task.name == "larger" else min(task.payload)
        payload = (task.payload, answer)
        return ExecutedSymbolicTask(name=task.name, payload=payload, metadata={"answer": answer})

    def serialize_task(self, executed: ExecutedSymbolicTask, spec: TokenizerSpec) -> list[int]:
        values, answer = executed.payload
        extra = spec.extra_token_ids
        question = [extra[executed.name], *(6 + value for value in values)]
        return [spec.bos_token_id, *question, extra["equals"], 6 + answer, spec.eos_token_id]

    def numeric_metadata_fields(self) -> tuple[str, ...]:
        return ("operands", "answer")


# the lowest level: datasets of one's own, configured by a mapping


class Rows(torch.utils.data.Dataset):
    def __init__(self, rows: list[list[int]]):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = torch.tensor(self.rows[index], dtype=torch.long)
        return {"input_ids": ids, "labels": ids.clone(), "attention_mask": torch.ones_like(ids)}


class ClockTask(Task):
    name = "clock"

    def tokenizer_spec(self) -> TokenizerSpec:
        return TokenizerSpec(vocab_size=12)

    def build_datasets(self, seed: int | None = None) -> DatasetBundle:
        starts = np.random.default_rng(seed).integers(12, size=6)
        rows = [[int(start + t) % 12 for t in range(8)] for start in starts]
        return DatasetBundle(train_dataset=Rows(rows[:5]), eval_dataset=Rows(rows[5:]),
                             metadata={"hours": 12})


def register_all() -> None:
    short = TaskPreset(
        name="short",
        description="Few symbols.",
        config={"symbols": 2, "sequence_count": 16},
        reference="this test",
    )
    register_task(
        "repeat",
        lambda config: RepeatTask(RepeatConfig(**config)),
        description="Say it twice.",
        presets=(short,),
    )
    register_task(
        "compare",
        lambda config: CompareFamily(CompareConfig(**config)),
        description="Largest or smallest.",
    )
    register_task("clock", lambda config: ClockTask(config))


@pytest.fixture(autouse=True)
def families():
    "The three families beside the built-in ones, for one test each."
    registered_tasks()
    before = dict(TASKS)
    register_all()
    yield
    TASKS.clear()
    TASKS.update(before)


def test_registering_first_hides_no_built_in():
    "In 0.3.0 whoever registered before the first look-up lost the built-in families."
    code = ("from pptrain import create_task, register_task, registered_tasks\n"
            "register_task('mine', lambda config: None)\n"
            "names = [task.name for task in registered_tasks()]\n"
            "print(create_task('procedural', {'preset': 'smoke'}).name, *names)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert {"mine", "procedural", "dyck"} <= set(done.stdout.split())


def test_registered_tasks_are_listed_by_name():
    names = [task.name for task in registered_tasks()]
    assert {"repeat", "compare", "clock", "procedural"} <= set(names)
    assert names == sorted(names)
    repeat = next(task for task in registered_tasks() if task.name == "repeat")
    assert repeat.description == "Say it twice."
    assert [p.name for p in registered_presets("repeat")] == ["short"]
    assert create_task("procedural", {"preset": "smoke"}).name == "procedural"


def test_a_user_may_replace_a_built_in():
    register_task(
        "procedural", lambda config: RepeatTask(RepeatConfig(**config)), description="mine")
    assert isinstance(create_task("procedural", {}), RepeatTask)
    descriptions = {task.name: task.description for task in registered_tasks()}
    assert descriptions["procedural"] == "mine"


def test_registering_twice_replaces():
    register_task("repeat", lambda config: RepeatTask(RepeatConfig(symbols=9)))
    assert create_task("repeat", {}).config.symbols == 9
    assert registered_presets("repeat") == ()


def test_preset_then_overrides():
    task = create_task("repeat", {"preset": "short", "eval_sequence_count": 3})
    assert isinstance(task, RepeatTask)
    assert task.config.symbols == 2
    assert task.config.sequence_count == 16
    assert task.config.eval_sequence_count == 3
    assert task.export_config() == {
        "sequence_count": 16, "eval_sequence_count": 3, "max_length": 32, "symbols": 2}


@pytest.mark.parametrize("config, says", [
    ({"preset": "shrot"}, "short"),
    ({"symbol": 3}, "symbol"),
    ({"max_length": 3}, "max_length"),
])
def test_refusals_are_sentences(config, says):
    with pytest.raises(InputError, match=says):
        create_task("repeat", config)


@pytest.mark.parametrize("name", ["repeat", "compare"])
def test_rows_keep_bos_and_eos_in_ids_and_labels(name):
    task = create_task(name, {})
    bundle, spec = task.build_datasets(seed=11), task.tokenizer_spec()
    assert len(bundle.train_dataset) == task.config.sequence_count
    assert len(bundle.eval_dataset) == task.config.eval_sequence_count
    for row in (bundle.train_dataset[i] for i in range(16)):
        assert row["input_ids"][0] == row["labels"][0] == spec.bos_token_id
        # 0.3.0 cut the end off
        assert row["input_ids"][-1] == row["labels"][-1] == spec.eos_token_id
        # loss everywhere, never shifted
        assert torch.equal(row["input_ids"], row["labels"])
        assert len(row["input_ids"]) <= task.config.max_length


def test_repeat_repeats():
    ids = create_task("repeat", {}).sample(3).ids.tolist()
    middle = ids[1:-1]
    assert middle[:len(middle) // 2] == middle[len(middle) // 2:]


def test_bare_specials_may_be_id_zero():
    "0.3.0's families say `spec.bos_token_id or 0`: a padding id other than 0 is then respected."
    bundle = create_task("repeat", {}).build_datasets(seed=0)
    batch = bundle.data_collator([bundle.train_dataset[i] for i in range(8)])
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 2).all()
    assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()


def test_facts_of_the_three_verbs():
    family = create_task("compare", {})
    for i in range(30):
        x = family.sample(i, seed=4)
        values = [t - 6 for t in x.ids[2:-3]]
        assert x.meta["mode"] in ("larger", "smaller")
        assert x.meta["operands"] == len(values)
        answer = max(values) if x.meta["mode"] == "larger" else min(values)
        assert x.meta["answer"] == x.ids[-2] - 6 == answer


def test_summary_reads_the_group_key_and_the_numeric_fields():
    family = create_task("compare", {})
    facts = family.summary(60, seed=4)
    metas = [family.sample(i, seed=4).meta for i in range(60)]
    assert facts["mode_counts"] == Counter(m["mode"] for m in metas)
    assert facts["avg_operands"] == pytest.approx(np.mean([m["operands"] for m in metas]))
    assert facts["avg_answer"] == pytest.approx(np.mean([m["answer"] for m in metas]))


def test_a_family_without_groups():
    class Plain(CompareFamily):
        task_group_metadata_key = None
    family = Plain(CompareConfig())
    assert "mode" not in family.sample(0).meta
    assert set(family.summary()) == {"avg_operands", "avg_answer"}


def test_bundle_metadata():
    family = create_task("compare", {"sequence_count": 12})
    facts = family.build_datasets(seed=1).metadata
    assert (facts["train_sequence_count"], facts["eval_sequence_count"]) == (12, 10)
    assert facts["config"]["modes"] == ("larger", "smaller")


def test_a_family_that_overrides_sample_example_is_asked():
    class Marked(CompareFamily):
        def sample_example(self, rng, spec):
            executed = self.execute_task(self.sample_task(rng))
            written = self.serialize_task(executed, spec)
            return [9, *written[1:]], {"marked": True}
    x = Marked(CompareConfig()).sample(0)
    assert x.ids[0] == 9 and x.meta == {"marked": True, "op": "compare"}


def test_a_task_of_the_lowest_level():
    task = create_task("clock", {"note": "any mapping"})
    assert task.export_config() == {"note": "any mapping"}
    assert task.default_transfer_policy_name() == "reinit_embeddings"
    x = task.sample(2, seed=3)
    assert x.mask.all()
    row = task.build_datasets(3).train_dataset[2]
    assert x.ids.tolist() == row["input_ids"].tolist()
    assert task.sample(0, "eval").ids.shape == (8,)
    assert task.fingerprint() == task.fingerprint() != task.fingerprint(seed=1)


def test_mask_free_families_train(tmp_path):
    "The trainer path of 0.3.0's quick start, with a family of one's own."
    from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
    model_config = HFModelConfig(
        model_name_or_path="sshleifer/tiny-gpt2", config_overrides={"n_positions": 32})
    adapter = HFCausalLMAdapter(model_config)
    run_config = pptrain.RunConfig(
        output_dir=str(tmp_path / "run"), max_steps=2, per_device_train_batch_size=4,
        per_device_eval_batch_size=4, logging_steps=1, save_steps=2, eval_steps=2)
    task = create_task("repeat", {"preset": "short"})
    trainer = pptrain.PrePreTrainer(task=task, model_adapter=adapter, run_config=run_config)
    bundle = trainer.fit().load_transfer_bundle()
    assert bundle.task_name == "repeat" and bundle.task_config["symbols"] == 2
    policy = pptrain.ReinitializeEmbeddingTransferPolicy()
    report = policy.apply_bundle(bundle, adapter.load_downstream_model())
    assert report.loaded_parameter_count > 0


QUIET = dict(max_steps=2, per_device_train_batch_size=4, per_device_eval_batch_size=4,
             logging_steps=1, save_steps=2, eval_steps=2)


def test_the_quick_start_of_the_readme(tmp_path):
    "Its values, but for the number of steps; no network, no weights."
    from pptrain import PrePreTrainer, RunConfig, create_task
    from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
    from pptrain.transfer import ReinitializeEmbeddingTransferPolicy
    settings = {"preset": "paper_binary_1m", "sequence_count": 256, "eval_sequence_count": 64,
                "max_length": 128}
    trainer = PrePreTrainer(
        task=create_task("simpler_tasks", settings),
        model_adapter=HFCausalLMAdapter(HFModelConfig(
            model_name_or_path="sshleifer/tiny-gpt2", config_overrides={"n_positions": 128})),
        run_config=RunConfig(output_dir=str(tmp_path / "smoke"), **QUIET))
    bundle = trainer.fit().load_transfer_bundle()
    assert len(trainer.task.build_datasets().train_dataset) == 256
    target_model = trainer.model_adapter.load_downstream_model()
    report = ReinitializeEmbeddingTransferPolicy().apply_bundle(bundle, target_model)
    assert report.loaded_parameter_count > 0


def gpt2(words: int) -> torch.nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel
    return GPT2LMHeadModel(GPT2Config(
        n_layer=1, n_head=2, n_embd=16, n_positions=128, vocab_size=words))


@pytest.mark.parametrize("by_size", [False, True], ids=["callable", "vocab_size"])
def test_models_of_ones_own(by_size, tmp_path):
    "Either adapter, by its keywords; the skipping policy, by its keyword."
    from pptrain.integrations import CallableCausalLMAdapter, VocabSizeCausalLMAdapter
    from pptrain.transfer import SkipParametersTransferPolicy

    def for_text() -> torch.nn.Module:
        return gpt2(512)

    def for_the_task(spec: TokenizerSpec) -> torch.nn.Module:
        return gpt2(spec.vocab_size)

    kind, make = ((VocabSizeCausalLMAdapter, gpt2) if by_size
                  else (CallableCausalLMAdapter, for_the_task))
    adapter = kind(create_prepretrain_model=make, load_downstream_model=for_text, name="mine")
    task = pptrain.create_task("simpler_tasks", {"preset": "smoke", "sequence_count": 64})
    settings = pptrain.RunConfig(output_dir=str(tmp_path / "run"), **QUIET)
    run = pptrain.PrePreTrainer(task=task, model_adapter=adapter, run_config=settings).fit()
    policy = SkipParametersTransferPolicy(
        skip_parameter_prefixes=("transformer.wte", "lm_head"))
    target = for_text()
    before = target.transformer.wte.weight.detach().clone()
    report = policy.apply_bundle(run.load_transfer_bundle(), target)
    assert report.loaded_parameter_count > 0
    assert torch.equal(before, target.transformer.wte.weight)


@pytest.mark.parametrize("family", ["nca", "dyck", "procedural", "simpler_tasks", "lime",
                                    "summarization"])
def test_six_families_with_the_presets_it_names(family):
    named = {"nca": "paper_web_text paper_code", "dyck": "paper_k8 paper_k16 paper_k32 paper_k64",
             "procedural": "paper_set_len16 paper_set_len32 paper_set_len64",
             "simpler_tasks": "paper_unary_core_1m paper_binary_1m",
             "lime": "paper_benchmark_100k paper_benchmark_1m paper_mixed_5m",
             "summarization": "paper_step_tasks_100k paper_ourtasks_subset_100k"}[family]
    names = {preset.name for preset in registered_presets(family)}
    assert names >= {"smoke", *named.split()}


def test_a_recipe_in_its_form(tmp_path):
    "Keys of 0.3.0's configs/nca_minimal.yaml, smaller."
    recipe = pptrain.load_recipe({
        "task": {"name": "nca",
                 "config": {"preset": "smoke", "init_rollout_steps": 4, "complexity_min": 0.35}},
        "model": {"model_name_or_path": "sshleifer/tiny-gpt2",
                  "config_overrides": {"n_positions": 256}},
        "run": {"output_dir": str(tmp_path / "nca"), **QUIET}})
    assert recipe.fit().metrics["eval_loss"] > 0
