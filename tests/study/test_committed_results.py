"""What results/ hold: curves that fall, arms that say what they are, a report to match."""
from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from results import Study, planned, read_studies

from pptrain import create_task
from pptrain.errors import InputError
from pptrain.study.gathering import GridResults
from pptrain.study.replication import ReplicationResult
from pptrain.study.report import report_heads

ROOT = Path(__file__).resolve().parents[2]
GRIDS = sorted((ROOT / "results/laptop").glob("*"))
STUDIES = read_studies(ROOT)
LEARNT = re.compile(r"(yes|partly|no), (-?\d+)% of the way: loss ([\d.]+), by frequency ([\d.]+)"
                    r"(?:, at least ([\d.]+))?(?:; accuracy \d+%)?$")
SEVERAL = re.compile(r"accuracy \d+% of the one of set and eca that learnt least$")
TOLD = ("warm-up tokens", "tokens in all", "FLOPs in all")


@pytest.fixture(scope="module", params=GRIDS, ids=lambda path: path.name)
def results(request):
    return GridResults.read(request.param)


def test_nothing_of_them_is_damaged(results):
    assert results.notes == [] and len(results.verdicts)


def vocabulary(study: Study) -> int:
    "Token ids that the last stage of a study knows."
    if "vocabulary" not in study.facts and "corpus" not in study.settings:      # a skill
        task = create_task(study.settings["family"], {"preset": study.preset})
        return task.tokenizer_spec().vocab_size
    return study.facts.get("vocabulary") or study.settings["vocab_size"]


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_every_curve_falls_and_after_its_first_step_lies_below_guessing(study):
    losses = study.rows[study.rows.metric.isin(["eval_loss", "train_loss"])].sort_values("step")
    assert len(losses)
    for _, run in losses.groupby(["variant", "seed"]):
        assert run.value.iloc[-1] < run.value.iloc[0]
        assert (run.value[run.step > 0] < math.log(vocabulary(study))).all()


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_the_facts_name_the_seeds_that_the_rows_have(study):
    if "seeds" in study.facts:
        assert study.facts["seeds"] == sorted(set(study.rows.seed))


def test_what_is_planned_is_written_down():
    for _, _, plan in planned(STUDIES):
        assert (ROOT / plan).is_file()


def test_every_arm_says_what_it_cost_and_whether_its_warm_up_learnt(results):
    for head in report_heads(results):
        stage = "skill" if "skill tokens" in head.arms else "text"
        for arm in head.arms.to_dict("records"):
            assert arm["seeds"] == 8 and "–" not in [arm[name] for name in TOLD]
            assert float(arm[f"{stage} rate"]) > 0
            if arm["warm-up tokens"] != "0":
                rates = arm["warm-up rate"].split(", ")
                assert all(float(rate) > 0 for rate in rates)
                kind = SEVERAL if len(rates) > 1 else LEARNT
                assert kind.match(arm["warm-up learnt?"])
        facts = json.loads((results.places[head.study][0] / "facts.json").read_text())
        assert len(facts["corpus_sha256"]) == 64


def test_a_warm_up_that_is_near_chance_has_not_learnt_its_task(results):
    for head in report_heads(results):
        for said in filter(LEARNT.match, head.arms["warm-up learnt?"]):
            word, share, *numbers = LEARNT.match(said).groups(default="0")
            loss, chance, least = map(float, numbers)
            way = (chance - loss) / (chance - least)
            rounded = .01 / (chance - least) if least else 0    # all three have three digits
            assert abs(100 * (way - int(share) / 100)) < 1 + 100 * rounded
            assert word == ("yes" if way >= .8 else "partly" if way >= .05 else "no")


def test_half_learnt_donors_of_lime_are_no_yes():
    heads = {head.study: head for grid in GRIDS for head in report_heads(GridResults.read(grid))}
    arms = heads["lime"].arms.set_index("arm")["warm-up learnt?"]
    assert arms["induct"].startswith("partly, 16% of the way")
    assert arms["shuffled"].startswith("partly, 7% of the way")
    assert heads["lime"].lines[1].startswith("Did the warm-up learn its task? Partly")


def test_no_rate_is_told_at_which_nothing_was_trained(results):
    for head in report_heads(results):
        settings = results.settings[head.study]
        donors = settings.get("donors", {}).values()
        tried = {donor["lr"] for donor in donors} or {
            *(settings["warmup_rates"] or [settings["synthetic_lr"]])}
        for said in set(head.arms["warm-up rate"]) - {"–"}:
            assert {float(rate) for rate in said.split(", ")} <= tried
        if donors:
            [line] = [line for line in head.lines if line.startswith("Learning rates")]
            searched = "in the warm-up, each donor's own, and not tuned; of "
            one = f"{settings['rates'][0]:g} on the skill, the same for all arms and not tuned"
            assert (searched if len(settings["rates"]) > 1 else one) in line


def test_a_replicated_claim_of_harm_is_not_read_as_help(results):
    for head in report_heads(results):
        claims = results.verdicts
        [main] = claims[(claims.study == head.study) & claims.main].itertuples()
        assert head.lines[0].endswith(f"main claim ({main.claim.rstrip('.')}): {main.verdict}.")


def test_the_effects_of_a_result_are_those_of_its_main_claim(results):
    for study, settings in results.settings.items():
        verdicts = results.verdicts[results.verdicts.study == study]
        main = verdicts[verdicts.main].measure.iloc[0]
        if "donors" not in settings:
            result = ReplicationResult(None, None, results.table, verdicts)
            assert result.effects().figure.layout.xaxis.title.text == \
                result.effects(main).figure.layout.xaxis.title.text
            assert result.effects().svg()
            with pytest.raises(InputError, match="measure of a claim"):
                result.effects("loss")


def test_a_verdict_speaks_about_the_model_that_was_trained(results):
    for row in results.verdicts.itertuples():
        facts = json.loads((results.places[row.study][0] / "facts.json").read_text())
        count = facts["parameters"]["text"]["all"]
        assert row.size.startswith(f"{count / 1e6:.3g}M parameters")
