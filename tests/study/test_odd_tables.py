"""Tables of a study as somebody brings them: the same verdict for the same rows, or a sentence."""
from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from pptrain import InputError
from pptrain.study import COLUMNS, Claim, gains, judge, mean_gains, study_picture

HELPS = [Claim("it helps", "", "loss_gain", "transferred", main=True)]


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(1, 9):
        for arm, gain in (("scratch", 0), ("transferred", .1)):
            speed = 1 + gain + rng.normal(0, .02)
            rows += [("s", arm, seed, at, at, "eval_loss", 5 - speed * at / 500)
                     for at in (0, 500, 1000)]
            rows.append(("s", arm, seed, 0, 0, "warmup_tokens", 100. * (gain > 0)))
    return pd.DataFrame(rows, columns=COLUMNS)


SAME = {
    "in any order": lambda t: t.sample(frac=1, random_state=1),
    "an index with gaps": lambda t: t.set_index(np.arange(len(t)) * 7 + 3),
    "an index of names": lambda t: t.set_index(pd.Index([f"r{i}" for i in range(len(t))])),
    "one label for all": lambda t: t.set_index(pd.Index([0] * len(t))),
    "columns that are the index too": lambda t: t.set_index(["study", "seed"], drop=False),
    "categories": lambda t: t.astype(dict.fromkeys(["study", "variant", "metric"], "category")),
    "seeds as text": lambda t: t.astype({"seed": str}),
    "types with gaps": pd.DataFrame.convert_dtypes,
    "objects": lambda t: t.astype({"value": object}),
    "read from a file": lambda t: pd.read_csv(io.StringIO(t.to_csv(index=False)))}


@pytest.mark.parametrize("kind", SAME)
def test_the_same_rows_have_the_same_verdict(kind):
    usual, brought = table(), SAME[kind](table())
    before = brought.copy()
    right, judged = judge(usual, HELPS), judge(brought, HELPS)
    assert right.verdict[0] == judged.verdict[0] == "replicated"
    for name in ("effect", "low", "high", "p", "n"):
        assert judged[name][0] == pytest.approx(right[name][0], rel=1e-12), name
    assert np.allclose(mean_gains(brought).loss_gain, mean_gains(usual).loss_gain)
    assert study_picture(brought).figure.data
    pd.testing.assert_frame_equal(brought, before)      # nobody's table is changed


@pytest.mark.parametrize("column", ["seed", "variant"])
def test_rows_of_no_run_are_not_left_out_in_silence(column):
    brought = table()
    brought[column] = brought[column].where(brought.index > 3, None)
    for ask in (lambda: judge(brought, HELPS), lambda: gains(brought)):
        with pytest.raises(InputError, match=f"4 of 64 rows have no {column}"):
            ask()
