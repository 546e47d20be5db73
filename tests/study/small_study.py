"""A study of seconds, for tests about its arms."""
from __future__ import annotations

from pptrain.study import StudyConfig

SMALL = StudyConfig(
    "arms", "procedural", "smoke", corpus="docs", corpus_bytes=120_000, vocab_size=384,
    model="gpt2-1_2_16", block_size=64, batch_size=4, synthetic_steps=6, text_steps=6,
    eval_every=3, eval_blocks=8, warmup_steps=0)
QUIET = dict(say=lambda line: None)


def facts_of(table, metric):
    "Variant → value of a metric that a run has once."
    return table[table.metric == metric].set_index("variant").value
