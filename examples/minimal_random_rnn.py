"""A small model learns the text of one untrained network: half a minute on one core, offline.

    python examples/minimal_random_rnn.py [FOLDER]

Guessing is by frequency: what one reaches who knows how often each token carries loss. The
network draws its tokens, so nobody can lose less than it does itself.
"""
from __future__ import annotations

import sys

from transformers import AutoModelForCausalLM

from pptrain import PrePreTrainer, RunConfig, create_task
from pptrain.integrations import HFCausalLMAdapter, HFModelConfig
from pptrain.measure import create_measure
from pptrain.study import guessing


def main(folder: str = "runs/example-random-rnn", steps: int = 400) -> None:
    task = create_task("random_rnn", {
        "preset": "smoke", "networks": 1,
        "sequence_count": 20_000, "eval_sequence_count": 64})
    model = HFModelConfig("gpt2-2_4_64", config_overrides={"n_positions": 64})
    trainer = PrePreTrainer(
        task=task,
        model_adapter=HFCausalLMAdapter(model),
        run_config=RunConfig(
            output_dir=folder, max_steps=steps, learning_rate=3e-3, warmup_steps=20,
            per_device_train_batch_size=32, eval_steps=steps, save_steps=steps))
    run = trainer.fit()

    model = AutoModelForCausalLM.from_pretrained(run.model_dir)
    held = [task.sample(i, split="eval") for i in range(64)]
    learnt = create_measure("accuracy")(model, held)
    chance = guessing(held)
    own = sum(x.meta["own_loss"] for x in held) / len(held)
    print(f"held-out loss {run.metrics['eval_loss']:.3f} nats per token, "
          f"the network's own {own:.3f}, guessing {chance['loss']:.3f}")
    print(f"tokens right {learnt['eval_accuracy']:.1%}, guessing {chance['accuracy']:.1%}")
    print("bundle:", run.load_transfer_bundle().run_dir)


if __name__ == "__main__":
    main(*sys.argv[1:2])
