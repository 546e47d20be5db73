"""Why do cellular automata harm code here? Parts of the donor, one by one; written down beforehand.

    python plan.py why OUT        # or: thawed

The study of r1_nca, profile laptop (GPT-2, 3 layers of 96; .77M tokens of Python's library), on
seeds 11 to 13, which no verdict counts: three cannot decide anything. The rate on code is 6e-3, the
best of three for each of r1's eight arms on seed 1000. What each arm would tell:

* attention, mlp, norms: which part of the body harms;
* noise: random weights of the donor's norm, part by part: is it size, not knowledge?
* layer_shuffled: the donor's own layers in another order.

`thawed`: the same donor, its body held still for the first 200 of 500 steps, so that fresh
embeddings settle before it moves."""
import sys

from pptrain.study import Replication, run


def part(*keep):
    return {"policy": {"name": "components", "keep": list(keep), "embeddings": "fresh(.02)"}}


BODY = ["attn", "mlp", "norm"]
arms = {"attention": part("attn"), "mlp": part("mlp"), "norms": part("norm"),
        "noise": {"policy": {"name": "random_weights", "keep": BODY}},
        "layer_shuffled": {"policy": {"name": "layer_shuffled", "keep": BODY}}}
laptop = {"model": "gpt2-3_4_96", "preset": "paper_n2", "block_size": 96, "synthetic_steps": 600,
          "overrides": {"grid_size": 6, "max_length": 110, "eval_sequence_count": 128},
          "synthetic_lr": 3e-3, "text_steps": 500, "text_lr": 6e-3, "warmup_steps": 200,
          "eval_every": 100, "eval_blocks": 128, "keep_models": False}
same = dict(
    paper="Lee, Han, Kumar, Agrawal 2026, arXiv 2603.10055", family="nca", preset="paper_code",
    config={"corpus": "code"}, claims=[], variants=["scratch", "transferred"],
    policy={"name": "reinitialize_embeddings", "positions": "fresh", "embeddings": "fresh(.02)"})
plans = {
    "why": Replication(title="Which part of automata harms code?",
                       profiles={"laptop": {**laptop, "arms": arms}}, **same),
    "thawed": Replication(title="Does holding the body still help?",
                          profiles={"laptop": {**laptop, "freeze": {"steps": 200}}}, **same),
}

if __name__ == "__main__":
    name, out = sys.argv[1:3]
    run(plans[name], profile="laptop", seeds=[11, 12, 13], out_dir=out)
