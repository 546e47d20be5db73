"""A model of your own in both stages: GPT-2 built by hand, its token tables skipped by name.

    python examples/custom_adapter.py [FOLDER]

`CallableCausalLMAdapter` hands over the whole tokenizer spec. Where the vocabulary's size is
enough, `VocabSizeCausalLMAdapter(create_prepretrain_model=of_size, …)` saves a line. Any
`nn.Module` will do: nbs/how_to/custom_models.ipynb has an LSTM and a transformer by hand.
"""
from __future__ import annotations

import sys

from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from pptrain import PrePreTrainer, RunConfig, SkipParametersTransferPolicy, create_task, exact_match
from pptrain.core import TokenizerSpec
from pptrain.integrations import CallableCausalLMAdapter
from pptrain.study import guessing


def of_size(words: int) -> GPT2LMHeadModel:
    "Two layers, 64 wide, with a row per word."
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=words, n_layer=2, n_head=4, n_embd=64, n_positions=64,
        bos_token_id=None, eos_token_id=None, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0))


def for_the_task(spec: TokenizerSpec) -> GPT2LMHeadModel:
    return of_size(spec.vocab_size)


def for_text() -> GPT2LMHeadModel:
    return of_size(512)


def main(folder: str = "runs/example-custom-adapter", steps: int = 400) -> None:
    task = create_task("procedural", {
        "preset": "paper_identity_len16", "length": 8, "vocab_size": 20, "eval_sequence_count": 64})
    adapter = CallableCausalLMAdapter(
        create_prepretrain_model=for_the_task, load_downstream_model=for_text, name="my-gpt2")
    settings = RunConfig(
        output_dir=folder, max_steps=steps, learning_rate=3e-3, warmup_steps=20,
        per_device_train_batch_size=32, eval_steps=steps, save_steps=steps)
    run = PrePreTrainer(task=task, model_adapter=adapter, run_config=settings).fit()

    learnt = exact_match(AutoModelForCausalLM.from_pretrained(run.model_dir), task, n=64)
    chance = guessing([task.sample(i, split="eval") for i in range(64)])
    print(f"tokens right {learnt['token_accuracy']:.1%}, guessing {chance['accuracy']:.1%}")

    policy = SkipParametersTransferPolicy(skip_parameter_prefixes=("transformer.wte", "lm_head"))
    report = policy.apply_bundle(run.load_transfer_bundle(), for_text())
    print(f"{report.loaded_parameter_count} parameter tensors crossed over, "
          f"left alone: {', '.join(report.skipped_parameters)}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
