"""Four studies on text, written down before any of their counted seeds was trained.

    python bench/stacked.py results/laptop/2026-11-27/plan.py:r3_text --out runs/r3 --device cuda

Each: GPT-2 of 4 layers and width 128, 4.1M tokens of text, 8 seeds (1 to 8), every arm at its own
best rates (warm-up 1e-3 or 3e-3, text 1e-3, 3e-3 or 1e-2), chosen by the final loss on seed 1000,
which is left out. Fresh embeddings at std .02 and, in arms called `scaled`, at the donor's scale:
scratch too. Main claim: the warm-up lowers the final held-out loss. Rule: `study.decide` (exact
paired sign-flip, two-sided 5 %, smallest effect .02 nats); the others by Holm among themselves."""
from pptrain.study import Claim, Replication

differs = dict(differs="4 layers of 128, 4.1M tokens of text, short warm-up")


def claims(what, paper, saves, setting):
    more = dict(setting=setting, smallest_effect=.02, **differs)
    own = dict(kind="comparison", smallest_effect=.02)
    return [
        Claim(f"{what} lowers the final loss", paper, "loss_gain", "transferred", main=True,
              **more),
        Claim("It saves tokens at equal loss", saves, "token_saving", "transferred",
              setting=setting, smallest_effect=.05, **differs),
        Claim("Structure matters: ordered rows help more than shuffled ones", "", "loss_gain",
              "transferred", "shuffled", **more),
        Claim("With embeddings at the donor's scale in both arms, it lowers the final loss", "",
              "loss_gain", "transferred_scaled", "scratch_scaled", **own),
        Claim("There too, ordered rows help more than shuffled ones", "", "loss_gain",
              "transferred_scaled", "shuffled_scaled", **own),
        Claim("What does the scale of embeddings do to scratch?", "", "loss_gain",
              "scratch_scaled", **own),
        Claim("Does it beat as many tokens of real text?", "", "loss_gain",
              "transferred", "natural", **own)]


def study(family, preset, corpus, title, paper, told, **sizes):
    overrides = {"eval_sequence_count": 128} | sizes.pop("overrides", {})
    config = dict(
        corpus=corpus, overrides=overrides, corpus_bytes=12_000_000, batch_size=16,
        rates=[1e-3, 3e-3, 1e-2], warmup_rates=[1e-3, 3e-3],
        arms={"shuffled_scaled": {"control": "shuffled", "embeddings": "scaled"}}, **sizes)
    arms = ["scratch", "transferred", "shuffled", "natural", "scratch_scaled", "transferred_scaled",
            "shuffled_scaled"]
    return Replication(
        paper=paper, title=title, family=family, preset=preset, claims=told, config=config,
        variants=arms, policy={"name": "reinitialize_embeddings", "positions": "fresh"})


r1_text = study(
    "nca", "paper_n2", "code", "Learning code after cellular automata",
    "Lee, Han, Kumar, Agrawal 2026, arXiv 2603.10055",
    claims("A warm-up on cellular automata", "up to 6 % of perplexity", "up to 1.6 times faster",
           "400M parameters, 164M tokens"),
    synthetic_steps=400)
r2_text = study(
    "dyck", "hu_shuffle", "sotu", "Learning English after brackets",
    "Hu et al. 2025, arXiv 2502.19249",
    claims("A warm-up on k-Shuffle-Dyck", "lower final loss on C4", "33 % at equal loss",
           "Pythia-1B, hu_shuffle"),
    synthetic_steps=1000, overrides={"bracket_types": 16, "length": 256})
r3_text = study(
    "procedural", "paper_set_len16", "code", "Learning code after set",
    "Jiang et al. 2026, arXiv 2601.21725",
    claims("A warm-up on set", "perplexity 5.47 to 5.13 on CodeParrot with union (0.064 nats)",
           "33 % of the CodeParrot tokens", "paper_set_len64"),
    synthetic_steps=2000)
r4_text = study(
    "simpler_tasks", "smoke", "sotu", "Learning English after Set",
    "Wu, Li, Liang 2022, arXiv 2206.10139",
    claims("A warm-up on Set", "65 % of the benefit of natural pre-training", "",
           "T5-small, official_set"),
    synthetic_steps=2000, overrides={"sequence_count": 200_000})
