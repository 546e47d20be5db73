"""Who finds needles first hangs on the model's width and the number of pairs: 4 pairs, two widths.

    python plan.py 16 OUT        # or: 64

A pilot on seeds 1 to 4 had scratch first by far at width 64, and everything of *set* first at the
paper's width of 16, where its attention alone did nothing. So both again, with a donor whose rows
were shuffled beside, all at 1e-3, on seeds 21 to 26; no claim was named."""
import sys

from pptrain.study import SkillConfig, run_skill, save_results

SET = {"family": "procedural", "preset": "paper_set_len16", "steps": 1500, "lr": 3e-3}
ATTENTION = {"name": "components", "keep": ["attn"]}
EVERYTHING = {"name": "reinitialize_embeddings", "embeddings": "mean", "positions": "copy"}


def config(width: str) -> SkillConfig:
    arms = {"set, attention": ("set", ATTENTION), "set, everything": ("set", EVERYTHING),
            "shuffled set, everything": ("shuffled set", EVERYTHING)}
    return SkillConfig(
        study=f"haystack_width_{width}", family="probes", preset="condattendstream_4",
        model=f"gpt2-2_4_{width}", rates=[1e-3], steps=2000, batch_size=64, together=3,
        donors={"set": SET, "shuffled set": SET | {"shuffled": True}},
        arms={"scratch": None} | {name: {"donor": donor, "policy": policy}
                                  for name, (donor, policy) in arms.items()})


if __name__ == "__main__":
    width, out = sys.argv[1:3]
    save_results(out, run_skill(config(width), out, range(21, 27)), [])
