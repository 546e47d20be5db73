"""A small model learns to echo: a word, and the same again; half a minute on one core, offline.

    python examples/minimal_repetition.py [FOLDER]

Guessing is by frequency: what one reaches who knows how often each token carries loss.
"""
from __future__ import annotations

import sys

from transformers import AutoModelForCausalLM

from pptrain import PrePreTrainer, RunConfig, create_task, exact_match
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.study import guessing


def main(folder: str = "runs/example-repetition", steps: int = 400) -> None:
    task = create_task("repetition", {
        "preset": "smoke", "loss": "copies",
        "sequence_count": 20_000, "eval_sequence_count": 64})
    model = HFModelConfig("gpt2-2_4_64", config_overrides={"n_positions": 64})
    trainer = PrePreTrainer(
        task=task,
        model_adapter=HFCausalLMAdapter(model),
        run_config=RunConfig(
            output_dir=folder, max_steps=steps, learning_rate=3e-3, warmup_steps=20,
            per_device_train_batch_size=32, eval_steps=steps, save_steps=steps))
    run = trainer.fit()

    learnt = exact_match(AutoModelForCausalLM.from_pretrained(run.model_dir), task, n=64)
    chance = guessing([task.sample(i, split="eval") for i in range(64)])
    print(f"held-out loss {run.metrics['eval_loss']:.3f} nats per token, "
          f"guessing {chance['loss']:.3f}")
    print(f"tokens right {learnt['token_accuracy']:.1%}, guessing {chance['accuracy']:.1%}")
    print("bundle:", run.load_transfer_bundle().run_dir)


if __name__ == "__main__":
    main(*sys.argv[1:2])
