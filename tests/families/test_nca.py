"""nca: poisoned vectors are named, noise has its law, and no bit depends on batch or device."""
from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from pptrain.core import InputError, create_task, registered_presets, registered_task
from pptrain.data.fillers import Filler
from pptrain.data.kernels import find_numba
from pptrain.parity import find_vectors, load_vectors
from pptrain.tasks.nca import NCA, NCAConfig, Rules, grids_of
from pptrain.tasks.nca.automata import (
    LAYERS, exact_logits, hidden_numbers, network_layers, next_grids, pick_states,
    quick_pass, rollout, start_grids, uniforms,
)
from pptrain.tasks.nca.draws import Stream, draw_problems
from pptrain.tasks.nca.family import kernel_shapes, run_films, weight_count
from pptrain.tasks.nca.replay import replay_nca
from pptrain.tasks.nca.rules import layer_shapes

VECTORS = load_vectors(ROOT / "tests" / "vectors" / "nca" / "dev.npz")
PRESETS = [p.name for p in registered_presets("nca")]


def part(*groups: str) -> dict[str, np.ndarray]:
    "The arrays of some groups."
    prefixes = tuple(f"{group}_" for group in groups)
    return {name: array for name, array in VECTORS.items() if name.startswith(prefixes)}


def changed(name: str, at: tuple, change) -> np.ndarray:
    "A copy of an array with one entry changed."
    array = VECTORS[name].copy()
    array[at] = change(array[at])
    return array


def plus(amount: float):
    "A change: add a float32."
    return lambda x: x + np.float32(amount)


def next_state(states: int = 10):
    "A change: another state of a cell."
    return lambda x: (x + 1) % states


def up(x): return x + 1
def down(x): return x - 1
def flip(x): return ~x
def other_bit(x): return 1 - x


little = plus(.01)
POISONS = [  # group, array, place, change, record that must be named
    ("a", "conv3_kernel", (0, 1, 2, 11, 3), little, "rule 0"),
    ("a", "out_kernel", (0, 3, 4), little, "rule 0"),
    ("a", "rule_key", (0, 1), up, "rule 0"),
    ("a", "init_key", (0, 0), up, "rule 0"),
    ("a", "init_logits", (0, 7), little, "rule 0"),
    ("a", "grid0", (0, 5, 5), next_state(), "rule 0"),
    ("a", "logits1", (0, 11, 0, 9), plus(3e-5), "rule 0"),
    ("a", "argmax_traj", (0, 30, 11, 11), next_state(), "rule 0"),
    ("a", "argmax_margin", (0, 12), plus(1e-4), "rule 0"),
    ("a", "argmax_exact_steps", (0,), down, "rule 0"),
    ("abias", "conv3_bias", (0, 2), little, "rule 0"),
    ("abias", "out_bias", (0, 9), little, "rule 0"),
    ("d_n15_g12", "conv1_bias", (0, 3), little, "rule 0"),
    ("d_n3_g6", "grid0", (0, 2, 2), next_state(3), "rule 0"),
    ("b", "gumbel", (0, 1, 3, 3, 3), little, "rule 0, setting 1"),
    ("b", "next", (0, 2, 3, 3), next_state(), "rule 0, setting 2"),
    ("b", "margin", (0, 2), little, "rule 0, setting 2"),
    ("b", "key", (0, 0, 1), up, "rule 0, setting 0"),
    ("c", "full", (0, 39, 1, 1), next_state(), "rollout 0"),
    ("c", "start10_dT1", (0, 26, 0, 0), next_state(), "rollout 0"),
    ("c", "start3_dT2", (0, 9, 0, 0), next_state(), "rollout 0"),
    ("c", "nonargmax_cells", (0, 20), up, "rollout 0"),
    ("c", "nonargmax_maxgap", (0, 20), plus(1e-5), "rollout 0"),
    ("c", "assign_12sims_5rules", (7,), up, "assignment"),
    ("c", "sim_key", (0,), up, "rollout 0"),
    ("c", "out_bias", (0, 0), little, "rollout 0"),
    ("e0", "cfg", (4,), up, "row 0"),
    ("e0", "tokens", (0, 1025), up, "row 0"),
    ("e3", "tok_targets", (0, 0), up, "row 0"),
    ("e5", "input", (0, 1023), up, "row 0"),
    ("e8", "labels", (0, 3), up, "row 0"),
    ("e7", "grids", (0, 19, 0, 0), other_bit, "row 0"),
    ("f", "gz_bytes", (2,), up, "case 2"),
    ("f", "ratio", (2,), little, "case 2"),
    ("f", "accept_050_100", (1,), flip, "case 1"),
    ("f", "accept_030_040", (1,), flip, "case 1"),
    ("f", "tokens", (0, 359), up, "case 0"),
    ("f2", "grids", (2, 0, 0, 0), next_state(), "case 2"),
    ("f3", "ratio", (0,), little, "case 0"),
]


@pytest.mark.parametrize("group, array, at, change, record", POISONS,
                         ids=[f"{group}_{array}" for group, array, *_ in POISONS])
def test_poisoned_record_is_named(group, array, at, change, record):
    name = f"{group}_{array}"
    vectors = part("a", "b") if group == "b" else part(group)
    tally = replay_nca(vectors | {name: changed(name, at, change)})
    named = [(section, record) for section, record, _ in tally.failures]
    assert named == [(group, record)], tally.table()


@pytest.mark.parametrize("name, change", [
    ("gz_bytes", lambda x: x + 40),
    ("gz_bytes", np.sort),
    ("change_frac", lambda x: x * np.float32(.9)),
    ("change_frac", lambda x: np.roll(x, 7)),
    ("occupancy_last", lambda x: x[:, ::-1] * np.float32(1.01)),
    ("w3_quantiles", lambda x: x * np.float32(1.02)),
    ("w_std", lambda x: x[::-1]),
    ("wo_quantiles", lambda x: np.where(np.arange(201) == 60, x + np.float32(.01), x)),
    ("quantile_levels", lambda x: x**2),
])
def test_poisoned_law_fails(name, change):
    tally = replay_nca(part("g") | {f"g_{name}": change(VECTORS[f"g_{name}"])})
    assert not tally.ok and all(section.startswith("g") for section, _, _ in tally.failures)


def test_clean_vectors_pass():
    tally = registered_task("nca").replay(VECTORS)
    assert tally.ok, tally.table()
    assert not replay_nca({}).ok


@pytest.mark.parametrize("lost", ["a_argmax_margin", "e0_cfg", "f_tokens", "c_rule_key", "g_w_std"])
def test_missing_arrays_fail(lost):
    group = part(lost.split("_")[0])
    group.pop(lost)
    assert not replay_nca(group).ok


def test_another_repository_fails():
    meta = json.loads(str(VECTORS["meta_json"])) | {"repo": "elsewhere"}
    assert not replay_nca({"meta_json": np.array(json.dumps(meta))}).ok


@pytest.mark.slow
def test_full_vectors():
    full = find_vectors("nca", "dev.npz")
    if full is None or ROOT in full.parents:
        pytest.skip("only the committed part is here")
    tally = replay_nca(load_vectors(full))
    assert tally.ok, tally.table()


# chance

@pytest.mark.parametrize("logits", [[0.0, 1e-4, 3e-4, -2e-4], [0.0] * 4, [2.0, 0.0, 0.0, 1.9999]])
def test_states_are_drawn_from_the_softmax(logits):
    "Chi-square of 40,000 coins on one cell's logits, dead cells included."
    from scipy.stats import chisquare
    coins = uniforms(torch.tensor(99), torch.arange(40_000))[None]
    z = torch.tensor([logits], dtype=torch.float64)
    counts = pick_states(z, coins, 1e-4)[0].bincount(minlength=4).numpy()
    wanted = torch.softmax(z[0] / 1e-4, 0).numpy() * 40_000
    likely = wanted > 5
    scaled = wanted[likely] * counts[likely].sum() / wanted[likely].sum()
    assert counts[~likely].sum() <= 5
    assert chisquare(counts[likely], scaled).pvalue > 1e-4


def some_rules(count: int, states: int = 10) -> tuple[Rules, torch.Tensor, torch.Tensor]:
    "Rules, random grids and keys."
    c = NCAConfig(num_states=states, complexity_min=0.0)
    drawn = draw_problems(Stream(4, "train", 0), [2], range(count), c, weight_count(c))
    chance = torch.Generator().manual_seed(states)
    grids = torch.randint(0, states, (count, 12, 12), dtype=torch.int32, generator=chance)
    numbers = torch.from_numpy(drawn.numbers)
    rules = Rules.from_layers(**network_layers(numbers, layer_shapes(states)))
    return rules, grids, torch.from_numpy(drawn.keys)


@pytest.mark.parametrize("states", [2, 3, 6, 10, 15])
@pytest.mark.parametrize("temperature, identity", [
    (0.0, 0.0), (1e-4, 0.0), (1e-3, 0.5), (1.0, 0.0), (0.5, 2.0)])
def test_the_quick_pass_never_overrules_the_careful_one(states, temperature, identity):
    rules, grids, keys = some_rules(48, states)
    ours = next_grids(rules, grids, 3, keys, temperature, identity)
    hidden = hidden_numbers(grids, rules.table)
    rule = torch.arange(48).repeat_interleave(144)
    cell = torch.arange(144).repeat(48)
    coins = uniforms(keys[rule], 3 * 144 + cell)[:, None]
    logits = exact_logits(rules, grids, hidden, rule, cell, identity)
    assert (ours.flatten() == pick_states(logits, coins, temperature)[:, 0]).all()


def test_a_dead_cell_is_uniform_when_warm_and_zero_when_cold():
    shapes = [(3, 3, 12, 4), (4,), (4, 16), (16,), (16, 10), (10,)]
    blank = {name: torch.zeros(2000, *shape) for name, shape in zip(LAYERS, shapes)}
    rules = Rules.from_layers(**blank)
    grids = torch.ones(2000, 3, 3, dtype=torch.int32)
    keys = torch.arange(2000) * 7919
    assert not next_grids(rules, grids, 0, keys, 0.0).any()
    counts = next_grids(rules, grids, 0, keys, 1e-4).flatten().bincount(minlength=10)
    assert (counts - 1800).abs().max() < 5 * 1800**.5


# one function of the address

@pytest.mark.parametrize("settings", [
    {},
    {"num_states": 2, "complexity_min": .1},
    {"channel_wrap": False},
    {"temperature": 0.0},
    {"temperature": .3, "complexity_min": .6},
    {"identity_bias": .2, "complexity_min": .1},
    {"grid_size": 15, "patch_size": 3, "num_states": 4, "complexity_min": .05, "rollout_stride": 2},
])
def test_alone_in_a_batch_and_in_any_order(settings):
    places = [40, 2, 999_999, 2, 17]
    data = create_task("nca", settings, sequence_count=10**6).build_datasets(3).train_dataset
    together = [x.ids.tolist() for x in data.batch(places)]
    assert [data.example(i).ids.tolist() for i in places] == together
    assert together[1] == data.batch(range(40))[2].ids.tolist()


def test_batches_of_every_size_agree():
    c = NCAConfig()
    drawn = draw_problems(Stream(8, "train", 0), [2], range(300), c, weight_count(c))
    whole = run_films(drawn, c, 6)
    for begin, end in ((0, 1), (5, 7), (250, 300), (17, 50)):
        assert (run_films(drawn.part(begin, end), c, 6) == whole[begin:end]).all()


@pytest.mark.skipif(find_numba() is None, reason="numba is not here, or turned off")
@pytest.mark.parametrize("states, weights, seed, split, lanes, items", [
    (10, 656, 1, "train", [2, 3], range(2500)),
    (2, 656, None, "eval", range(7), range(0, 900, 3)),
    (15, 1, -7, "train", [0, 2**63], [2**64 - 1, 5, 0]),
    (10, 0, 2**64 - 1, "eval", [0], range(3000)),
    (21, 5000, 3, "train", [2], range(200)),
])
def test_machine_code_draws_the_problems_of_numpy(
    states, weights, seed, split, lanes, items, monkeypatch
):
    place = Stream(seed, split, 2), lanes, items, NCAConfig(num_states=states), weights
    monkeypatch.setattr(Filler, "ready", lambda filler: None)
    numpys = draw_problems(*place)
    monkeypatch.setattr(Filler, "ready", Filler.now)
    ours = draw_problems(*place)
    for name, column in vars(ours).items():
        numpys_own = getattr(numpys, name)
        assert column.dtype == numpys_own.dtype and (column == numpys_own).all(), name


@pytest.mark.skipif(find_numba() is None, reason="numba is not here, or turned off")
@pytest.mark.parametrize("settings", [
    {},
    {"temperature": 0.0, "channel_wrap": False},
    {"temperature": 1.0, "num_states": 15},
    {"temperature": 1e-2, "identity_bias": .3},
    {"temperature": 1, "num_states": 2, "hidden_dim": 5, "perception_dim": 3, "grid_size": 8},
    {"hidden_dim": 1, "perception_dim": 1, "grid_size": 4, "init_rollout_steps": 0},
    {"num_states": 36, "patch_size": 1, "hidden_dim": 32, "rollout_stride": 7, "max_length": 999},
])
def test_machine_code_makes_the_films_of_torch(settings, monkeypatch):
    c = NCAConfig(**{"complexity_min": 0.0} | settings)
    drawn = draw_problems(Stream(5, "train", 0), [2], range(40), c, weight_count(c))
    monkeypatch.setattr(Filler, "ready", lambda filler: None)
    by_torch = run_films(drawn, c, 9)
    monkeypatch.setattr(Filler, "ready", Filler.now)
    assert (run_films(drawn, c, 9) == by_torch).all()
    assert (run_films(drawn.part(3, 4), c, 9)[0] == by_torch[3]).all()


@pytest.mark.slow
@pytest.mark.skipif(find_numba() is None, reason="numba is not here, or turned off")
def test_a_first_item_waits_for_no_torch_where_machine_code_is_kept(tmp_path):
    sample = "from pptrain.core import create_task; row = create_task('nca', %s).sample(0)"
    small = {"preset": "smoke", "complexity_probe_frames": 0}
    keep = "from pptrain.data import fillers; fillers.WORTH = 0; "
    tell = "; import sys; print(sum(row.ids), 'torch' in sys.modules)"
    told = [subprocess.run([sys.executable, "-c", first + sample % small + tell],
                           env=os.environ | {"PPTRAIN_CACHE": str(tmp_path)},
                           capture_output=True, text=True, check=True).stdout.split()
            for first in ("", keep, "")]
    total = str(sum(create_task("nca", **small).sample(0).ids))
    assert told == [[total, "True"], [total, "False"], [total, "False"]]


def test_rules_of_a_pool_come_again():
    task = create_task("nca", rule_count=5, eval_rule_count=3)
    train = task.examples(0, "train", 0, [1, 6, 11])
    held = task.examples(0, "eval", 0, [0, 3])
    assert [x.meta["rule"] for x in train] == [1, 1, 1]
    assert len({x.ids.tobytes() for x in train}) == 3
    assert len({x.meta["gzip_bytes"] for x in train}) == 1
    assert [x.meta["rule"] for x in held] == [0, 0]


def test_an_epoch_may_come_again():
    task = create_task("nca", regenerate_train_each_epoch=False)
    fourth = task.examples(0, "train", 4, [2])[0]
    assert fourth.ids.tolist() == task.sample(2).ids.tolist()


def test_a_worker_that_starts_afresh_sees_the_same():
    data = create_task("nca", preset="smoke", sequence_count=16).build_datasets(2).train_dataset
    whole = [row["input_ids"].tolist() for row in data.__getitems__(range(16))]
    loader = DataLoader(data, 8, collate_fn=list, num_workers=1, multiprocessing_context="spawn")
    assert [row["input_ids"].tolist() for batch in loader for row in batch] == whole
    again = pickle.loads(pickle.dumps(data))
    assert again[3]["input_ids"].tolist() == whole[3]


# any device

class Watch(TorchDispatchMode):
    "Names of the operations that pass."

    def __init__(self):
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        self.seen.add(op.name().removeprefix("aten::").split(".")[0])
        return op(*args, **(kwargs or {}))


def test_no_number_leaves_the_device_in_a_step():
    rules, grids, keys = some_rules(16)
    with Watch() as watch:
        rollout(rules, grids, keys, 2, 3)
    assert "embedding_bag" in str(watch.seen) and "_local_scalar_dense" not in watch.seen


def test_the_loop_makes_no_tensor_on_another_device():
    "On torch's `meta` device a stray CPU tensor is an error, as it is on a GPU."
    rules, grids, keys = some_rules(16)
    far = Rules(*(tensor.to("meta") for tensor in vars(rules).values()))
    best, coins, doubt, hidden = quick_pass(grids.to("meta"), far, keys.to("meta"), 1e-4, .1)
    rule = cell = torch.zeros(9, dtype=torch.int64, device="meta")
    logits = exact_logits(far, grids.to("meta"), hidden, rule, cell, .1)
    picked = pick_states(logits, coins[rule, cell, None], 1e-4)
    assert picked.is_meta and best.is_meta and doubt.is_meta
    tilts = torch.zeros(4, 10, dtype=torch.float64, device="meta")
    assert start_grids(tilts, torch.zeros(4, 144, dtype=torch.float64, device="meta")).is_meta


@pytest.mark.gpu
def test_a_gpu_makes_the_same_films():
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    here, there = create_task("nca"), create_task("nca")
    there.device = "cuda"
    ours = [x.ids.tolist() for x in here.examples(1, "train", 0, range(40))]
    assert [x.ids.tolist() for x in there.examples(1, "train", 0, range(40))] == ours


# presets, looks and datasets

@pytest.mark.parametrize("name", PRESETS)
def test_preset(name):
    task = create_task("nca", preset=name)
    c = task.config
    frame = (c.grid_size // c.patch_size) ** 2 + 2
    for x in task.examples(1, "train", 0, range(3)):
        assert c.complexity_min < x.meta["gzip_ratio"] < c.complexity_max
        assert len(x) == c.max_length and x.mask.sum() == len(x) - frame
        assert grids_of(x, c).max() < c.num_states


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("paper")])
def test_paper_preset(name):
    preset = registered_task("nca").preset(name)
    x = create_task("nca", preset=name).sample(0)
    assert len(x) - 1 == 1024 and x.mask.sum() == 987
    assert preset.config["sequence_count"] == 16_000
    held = (preset.config["eval_sequence_count"], preset.config["eval_rule_count"])
    assert held == (3200, 2000)
    assert (preset.training["learning_rate"], preset.training["warmup_steps"]) == (1e-4, 5000)


class Otherwise(NCA):
    "The same automata under another name."
    name = "otherwise_named"


def test_a_subclass_draws_like_its_parent():
    c = NCAConfig(grid_size=8, max_length=256, complexity_min=.3)
    task = Otherwise(c)
    x = task.sample(0)
    assert task.scene(x) == NCA(c).scene(x)
    assert task.knobs()["temperature"] == (0.0, .2, 1e-4) and task.costly()
    values, colors = task.stamp(task.examples(0, "train", 0, range(8)))
    assert values.shape == (8, 48) and values.dtype == np.uint8 and values.max() < len(colors)
    assert (x.meta["op"],) == task.op_names() and NCA(c).op_names() == ("nca",)


def test_a_model_is_asked_for_the_official_pairs():
    "A Hugging Face model's loss on our unshifted labels is its cross-entropy on the paper's own."
    from transformers import GPT2Config, GPT2LMHeadModel
    torch.manual_seed(0)
    task = create_task("nca", preset="smoke")
    data = task.build_datasets(0)
    size = GPT2Config(vocab_size=len(task.vocab), n_positions=256, n_embd=16, n_layer=1, n_head=2)
    model = GPT2LMHeadModel(size).eval()
    examples = data.train_dataset.batch(range(4))
    pairs = [x.official for x in examples]
    labels = torch.tensor([pair["labels"] for pair in pairs])
    with torch.no_grad():
        loss = model(**data.data_collator([x.features() for x in examples])).loss
        logits = model(input_ids=torch.tensor([pair["input"] for pair in pairs])).logits
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)


FIRST_BATCH = """
import resource, time, torch
torch.set_num_threads(1)
from pptrain.core import create_task
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, start = peak(), time.process_time()
task = create_task("nca", preset="paper_web_text", sequence_count=160_000)
data = task.build_datasets(0)
batch = data.data_collator(data.train_dataset.__getitems__(range(16)))
print(batch["input_ids"].shape[1], time.process_time() - start, (peak() - before) / 1024)
"""


def test_a_run_of_160_000_is_light():
    "Built, and the first batch made, in a process of its own."
    done = subprocess.run([sys.executable, "-c", FIRST_BATCH], capture_output=True, text=True,
                          cwd=ROOT, check=True)
    length, seconds, megabytes = map(float, done.stdout.split())
    assert length == 1025 and seconds < 5 and megabytes < 1000


@pytest.mark.parametrize("settings, says", [
    ({"num_states": 4}, "reach a gzip ratio of 0.4"),
    ({"num_states": 4, "complexity_min": .42, "max_rule_attempts_per_sequence": 40}, "40 attempts"),
    ({"max_length": 38}, "works is 39"),
    ({"patch_size": 5}, "multiple of patch_size=5"),
    ({"complexity_min": .4, "complexity_max": .3}, "min < max"),
    ({"num_state": 9}, "num_states"),
    ({"temperature": -1.0}, "temperature"),
    ({"hidden_dim": 64}, "at most 32"),
    ({"num_states": 36}, "2^18"),
    ({"preset": "paper_webtext"}, "paper_web_text"),
    ({"rule_count": 0}, "rule_count=0"),
])
def test_refusals(settings, says):
    with pytest.raises(InputError) as refusal:
        create_task("nca", settings).sample(0)
    assert says in str(refusal.value) and "\n" not in str(refusal.value)


@contextmanager
def autocast():
    with torch.autocast("cpu", torch.bfloat16):
        yield


@contextmanager
def globally(setter, now, before):
    setter(now)
    try:
        yield
    finally:
        setter(before)


PLACES = {   # what a program may have set before it asks for data
    "autocast": autocast,
    "float64": partial(globally, torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16": partial(globally, torch.set_default_dtype, torch.bfloat16, torch.float32),
    "no device": partial(globally, torch.set_default_device, "meta", None),
    "deterministic": partial(globally, torch.use_deterministic_algorithms, True, False),
    "inference": torch.inference_mode,
    "three threads": partial(globally, torch.set_num_threads, 3, torch.get_num_threads()),
    "coarse products": partial(globally, torch.set_float32_matmul_precision, "medium", "highest"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("settings", [
    {}, {"identity_bias": .1, "temperature": .5, "num_states": 5}])
def test_items_are_the_same_wherever_they_are_asked_for(place, settings):
    "A model may round as it likes; cells do not follow it."
    task = create_task("nca", {"preset": "smoke", "complexity_min": .2, **settings})
    data = task.build_datasets(seed=4).train_dataset
    before = [row["input_ids"].tolist() for row in data.__getitems__(range(8))]
    with PLACES[place]():
        rows = data.__getitems__(range(8))
        assert create_task("nca", task.export_config()).sample(3, seed=4).ids.tolist() == before[3]
    assert [row["input_ids"].tolist() for row in rows] == before
    assert all(column.dtype == torch.int64 for row in rows for column in row.values())


def test_products_that_are_set_backend_by_backend():
    "Then torch itself no longer knows how its products round, and more cells are looked at twice."
    code = ("import torch; from pptrain import create_task; "
            "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'; "
            "print(create_task('nca', preset='smoke').sample(3, seed=4).ids.tolist())")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    wanted = create_task("nca", preset="smoke").sample(3, seed=4).ids.tolist()
    assert done.stdout.strip() == str(wanted)


def test_a_band_that_is_accepted_serves_every_item():
    "One rule in ten lies in it: never enough for an average of ten, enough for one of thirteen."
    band = {"preset": "paper_code", "max_length": 114, "min_frames": 1}
    with pytest.raises(InputError, match="smallest that works is") as refusal:
        create_task("nca", band, max_rule_attempts_per_sequence=2)
    works = int(str(refusal.value).rpartition(" ")[2])
    assert 8 < works < 14
    task = create_task("nca", band, max_rule_attempts_per_sequence=works)
    assert max(x.meta["attempt"] for x in task.head(64)) > works


def test_weights_beyond_reason_are_refused():
    c = NCAConfig()
    numbers = torch.ones(1, weight_count(c)) * 60
    with pytest.raises(InputError, match="not supported"):
        Rules.from_layers(**network_layers(numbers, kernel_shapes(c)))
