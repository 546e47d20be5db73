"""Why does a LIME warm-up harm algebra? Parts of the donor, one by one; written down beforehand.

    python plan.py OUT

The study of r5_lime, profile laptop (Llama, 2 layers of 64, fresh weights at std .1; 1M tokens of
generated algebra), on seeds 11 to 13, which no verdict counts: three cannot decide anything. Every
arm at its better rate of two (seed 1000, left out). What each arm would tell:

* attention, mlp, norms: which part of the body harms;
* noise: random weights of the donor's norm, part by part: is it size, not knowledge?
* layer_shuffled: the donor's own layers in another order."""
import sys

from pptrain.study import Replication, run


def part(*keep):
    return {"policy": {"name": "components", "keep": list(keep), "embeddings": "fresh"}}


arms = {"attention": part("attn"), "mlp": part("mlp"), "norms": part("norm"),
        "noise": {"policy": {"name": "random_weights"}},
        "layer_shuffled": {"policy": {"name": "layer_shuffled"}}}
few = {"vocab_size": 24, "upper": 5, "lower": 6, "math": 6, "max_length": 200}
plan = Replication(
    paper="Wu, Rabe, Li, Ba, Grosse, Szegedy 2021, arXiv 2101.06223", claims=[],
    title="Which part of LIME harms algebra?", family="lime", preset="official_mixed",
    variants=["scratch", "transferred"],
    profiles={"laptop": {
        "model": "llama-tiny", "init_std": .1, "vocab_size": 320, "corpus": "algebra",
        "corpus_bytes": 4_000_000, "measures": ["perplexity", "algebra"], "arms": arms,
        "overrides": {"eval_sequence_count": 128, **few}, "synthetic_lr": 3e-3,
        "synthetic_steps": 1000, "text_steps": 500, "eval_every": 50, "eval_blocks": 64,
        "rates": [3e-3, 1e-2], "keep_models": False}})

if __name__ == "__main__":
    run(plan, profile="laptop", seeds=[11, 12, 13], out_dir=sys.argv[1])
