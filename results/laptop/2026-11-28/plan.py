"""r3 once more, all arms at one rate, on seeds that nobody has seen; written down beforehand.

    python plan.py haystack OUT      # or: addition

In the first runs each arm had its better rate of two on one seed, on which most arms learnt nothing
at either, so rates differed by chance: *set, attention* ran at 1e-3 where scratch had 3e-3, and
where sums are learnt the other way round. Now every arm has 1e-3, seeds are 11 to 18, and:

* haystack: everything of a model that learnt *Dyck*, which the paper has at 96.9 %;
* addition: everything of *set* also with fresh embeddings, since `embeddings: mean`, which the
  first runs had, begins with one and the same row for all tokens, and scratch does not."""
import sys
from dataclasses import asdict

from pptrain.study import Claim, SkillConfig, judge_study, run_skill, save_results

SEEDS = range(11, 19)
EVERYTHING = {"name": "reinitialize_embeddings", "embeddings": "mean", "positions": "copy"}
ROWS_FRESH = EVERYTHING | {"embeddings": "fresh"}
ATTENTION = {"name": "components", "keep": ["attn"]}
SET = {"family": "procedural", "preset": "paper_set_len16", "steps": 1500, "lr": 3e-3}
DONORS = {"set": SET, "shuffled set": SET | {"shuffled": True}}


def arms(**named):
    "Scratch, and arms of `donor=policy` by name."
    return {"scratch": None} | {name: {"donor": donor, "policy": policy}
                                for name, (donor, policy) in named.items()}


haystack = SkillConfig(
    study="haystack_one_rate", family="probes", preset="condattendstream_8", model="gpt2-2_4_64",
    rates=[1e-3], steps=5000, batch_size=64, together=4,
    donors=DONORS | {
        "identity": SET | {"preset": "paper_identity_len16", "steps": 1000},
        "dyck": {"family": "dyck", "preset": "smoke", "steps": 1500, "lr": 3e-3}},
    arms=arms(**{
        "set, attention": ("set", ATTENTION), "set, everything": ("set", EVERYTHING),
        "identity, attention": ("identity", ATTENTION), "dyck, everything": ("dyck", EVERYTHING),
        "shuffled set, attention": ("shuffled set", ATTENTION)}))
addition = SkillConfig(
    study="addition_one_rate", family="probes", preset="additionstream_4", model="gpt2-2_4_64",
    positions=130, rates=[1e-3], steps=1000, batch_size=64, together=4, donors=DONORS,
    arms=arms(**{
        "set, everything": ("set", EVERYTHING), "set, fresh embeddings": ("set", ROWS_FRESH),
        "set, attention": ("set", ATTENTION),
        "shuffled set, everything": ("shuffled set", EVERYTHING)}))

needle = dict(measure="accuracy", smallest_effect=.05, setting="condattendstream_30",
              differs="up to 8 pairs, batches of 64, width 64, short donors")
digit = dict(measure="accuracy", smallest_effect=.02, setting="additionstream_10",
             differs="4 digits, batches of 64, width 64, 1,000 steps, short donors")
asked = dict(kind="comparison", measure="accuracy")
claims = {
    "haystack": [
        Claim("With the attention of set it finds more needles after the budget", "11.3 → 88.9 %",
              variant="set, attention", main=True, **needle),
        Claim("The attention of identity alone finds more of them too", "11.3 → 99.0 %",
              variant="identity, attention", **needle),
        Claim("So does everything of Dyck", "11.3 → 96.9 %", variant="dyck, everything", **needle),
        Claim("Does everything of set?", "", variant="set, everything", smallest_effect=.05,
              **asked),
        Claim("Do rows in order teach more looking than shuffled ones?", "",
              variant="set, attention", against="shuffled set, attention", smallest_effect=.05,
              **asked)],
    "addition": [
        Claim("Everything of set harms: fewer digits are right", "76.4 → 44.6 %",
              variant="set, everything", direction=-1, main=True, **digit),
        Claim("The attention of set alone harms too", "76.4 → 54.4 %", variant="set, attention",
              direction=-1, **digit),
        Claim("Does it help where token embeddings begin fresh?", "",
              variant="set, fresh embeddings", smallest_effect=.02, **asked),
        Claim("Do fresh token embeddings take harm away?", "", variant="set, fresh embeddings",
              against="set, everything", smallest_effect=.02, **asked),
        Claim("Does shuffling the rows take harm away?", "", variant="shuffled set, everything",
              against="set, everything", smallest_effect=.02, **asked)]}

if __name__ == "__main__":
    name, out = sys.argv[1:3]
    config = {"haystack": haystack, "addition": addition}[name]
    rows = run_skill(config, out, SEEDS)
    save_results(out, rows, claims[name])
    print(judge_study(rows, claims[name], asdict(config), "laptop").to_string())
