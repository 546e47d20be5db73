"""Why does a warm-up on Set harm English? Parts of the donor, one by one; written down beforehand.

    python plan.py why OUT        # or: thawed, frozen

The study of r4_simpler_tasks, profile laptop (Llama, 2 layers of 64; 2M tokens of `docs`), on seeds
11 to 13, which no verdict counts: three cannot decide anything. Every arm at its better rate of two
(seed 1000, left out). What each arm would tell:

* attention, mlp, norms: which part of the body harms;
* weights_only: everything but norms;
* noise: random weights of the donor's norm, part by part: is it size, not knowledge?
* layer_shuffled: the donor's own layers in another order;
* attention_scaled, mlp_scaled: the part alone, fresh embeddings at the donor's scale.

`thawed`: the same donor, its body held still for the first 200 of 1,000 steps, so that fresh
embeddings settle before it moves; in `frozen` it never moves."""
import sys

from pptrain.study import Replication, run


def part(*keep, embeddings="fresh"):
    return {"policy": {"name": "components", "keep": list(keep), "embeddings": embeddings}}


arms = {
    "attention": part("attn"), "mlp": part("mlp"), "norms": part("norm"),
    "weights_only": part("attn", "mlp"),
    "noise": {"policy": {"name": "random_weights"}},
    "layer_shuffled": {"policy": {"name": "layer_shuffled"}},
    "attention_scaled": part("attn", embeddings="scaled"),
    "mlp_scaled": part("mlp", embeddings="scaled"),
}
short = {"symbols": 64, "min_symbols": 6, "max_symbols": 24, "max_length": 52}
laptop = {"model": "llama-tiny", "overrides": {"eval_sequence_count": 128, **short},
          "corpus": "docs", "vocab_size": 1024, "batch_size": 32, "block_size": 64,
          "synthetic_lr": 3e-3, "synthetic_steps": 1500, "text_steps": 1000, "eval_every": 100,
          "eval_blocks": 128, "rates": [3e-3, 1e-2], "keep_models": False}
same = dict(paper="Wu, Li, Liang 2022, arXiv 2206.10139", family="simpler_tasks",
            preset="official_set", claims=[])
plans = {
    "why": Replication(title="Which part of Set harms English?",
                       variants=["scratch", "transferred"],
                       profiles={"laptop": {**laptop, "arms": arms}}, **same),
    "thawed": Replication(title="Does holding the body still help?",
                          variants=["scratch", "transferred"],
                          profiles={"laptop": {**laptop, "freeze": {"steps": 200}}}, **same),
    "frozen": Replication(title="Does the body help where it never moves?",
                          variants=["scratch", "transferred"],
                          profiles={"laptop": {**laptop, "freeze": "transferred"}}, **same),
}

if __name__ == "__main__":
    name, out = sys.argv[1:3]
    run(plans[name], profile="laptop", seeds=[11, 12, 13], out_dir=out)
