"""What the text stage cannot do is said before the first stage, in its own words."""
from __future__ import annotations

import random

import pytest
from pptrain import InputError
from pptrain.cli import main
from pptrain.corpora import load_corpus
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.runs.evaluation import prepare_text

SMALL = dict(train_steps=2, batch_size=2, max_length=32, eval_every=2, eval_blocks=2,
             vocab_size=300)
SLIPS = {"train_steps": 2**62, "vocab_size": 10**9, "max_length": 1, "policy": 3}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> str:
    folder, draw = tmp_path_factory.mktemp("texts"), random.Random(0)
    for name in range(12):
        words = [f"w{draw.randrange(40)}" for _ in range(200)]
        (folder / f"{name}.txt").write_text(" ".join(words))
    return str(folder)


def prepared(corpus: str, **options):
    adapter = HFCausalLMAdapter(HFModelConfig("gpt2-1_2_16", config_overrides={"n_positions": 64}))
    return prepare_text(adapter, {**SMALL, "corpus": corpus, **options})


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_is_named_as_it_was_written(corpus, name):
    with pytest.raises(InputError, match=f"^{name}[ =]") as refusal:
        prepared(corpus, **{name: SLIPS[name]})
    assert "block_size" not in str(refusal.value) and "dict[" not in str(refusal.value)


def test_a_registered_measure_can_be_asked_before_and_after(corpus):
    [asked] = prepared(corpus, tasks=[{"type": "effective_rank"}]).measured
    assert asked.record()[0] == "effective_rank"


@pytest.mark.parametrize("slip", [{"seed": "x"}, {"seed": 1.5}, {"max_bytes": True}])
def test_numbers_of_a_corpus_are_numbers(corpus, slip):
    with pytest.raises(InputError, match=next(iter(slip))):
        load_corpus(corpus, **slip)


@pytest.mark.parametrize("options", [
    {"tasks": [{"type": "summary_loss"}]}, {"measures": ["perplexity", "summary_loss"]}])
def test_what_the_text_cannot_answer_is_said_before_the_first_stage(corpus, options):
    with pytest.raises(InputError, match="no document with a summary"):
        prepared(corpus, **options)
    assert prepared(corpus, measures=[{"name": "sums", "count": 1}]).held


def test_a_recipe_has_trained_nothing_when_its_text_is_refused(corpus, tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text(
        "task: {name: dyck, config: {preset: smoke}}\nmodel: {model_name_or_path: gpt2-1_2_8}\n"
        f"run: {{output_dir: {tmp_path}/run, max_steps: 1, use_cpu: true}}\n")
    (tmp_path / "text.yaml").write_text(
        f"corpus: {corpus}\nmax_length: 32\ntrain_steps: 1\ntasks: [{{type: summary_loss}}]\n")
    words = ["fit", str(tmp_path / "recipe.yaml"), "--eval-config", str(tmp_path / "text.yaml")]
    assert main(words) == 2 and not (tmp_path / "run").exists()
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "with a summary" in said
