"""nca: poisoned vectors are caught and named, noise has its law, and no bit depends on batch, compiler or device."""
from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from pptrain.core import create_task, registered_presets, registered_task
from pptrain.parity import find_vectors, load_vectors
from pptrain.parts import automata
from pptrain.parts.automata import Rules, exact_logits, glance, layer_shapes, layers, pick, rollout, uniforms, update
from pptrain.replays.nca import parity
from pptrain.tasks.nca import NCAConfig, draw, grids_of, item_rngs, run, shapes_of
from pptrain.runs import RunConfig
from pptrain.vocab import InputError

VECTORS = load_vectors(ROOT / "tests" / "vectors" / "nca" / "dev.npz")
PRESETS = [p.name for p in registered_presets("nca")]


def part(*groups: str) -> dict[str, np.ndarray]:
    "The arrays of some groups."
    return {k: v for k, v in VECTORS.items() if k.startswith(tuple(f"{g}_" for g in groups))}


def changed(name: str, at: tuple, change) -> np.ndarray:
    "A copy of an array with one entry changed."
    array = VECTORS[name].copy()
    array[at] = change(array[at])
    return array


def up(x): return x + 1
def little(x): return x + np.float32(.01)
def flip(x): return ~x


@pytest.mark.parametrize("name, at, change, record", [
    ("a_conv3_kernel", (0, 1, 2, 11, 3), little, "rule 0"), ("a_out_kernel", (0, 3, 4), little, "rule 0"),
    ("abias_conv3_bias", (0, 2), little, "rule 0"), ("abias_out_bias", (0, 9), little, "rule 0"),
    ("a_rule_key", (0, 1), up, "rule 0"), ("a_init_key", (0, 0), up, "rule 0"), ("a_init_logits", (0, 7), little, "rule 0"),
    ("a_grid0", (0, 5, 5), lambda x: (x + 1) % 10, "rule 0"), ("a_logits1", (0, 11, 0, 9), lambda x: x + np.float32(3e-5), "rule 0"),
    ("a_argmax_traj", (0, 30, 11, 11), lambda x: (x + 1) % 10, "rule 0"), ("a_argmax_margin", (0, 12), lambda x: x + np.float32(1e-4), "rule 0"),
    ("a_argmax_exact_steps", (0,), lambda x: x - 1, "rule 0"), ("d_n15_g12_conv1_bias", (0, 3), little, "rule 0"),
    ("d_n3_g6_grid0", (0, 2, 2), lambda x: (x + 1) % 3, "rule 0"),
    ("b_gumbel", (0, 1, 3, 3, 3), little, "rule 0, setting 1"), ("b_next", (0, 2, 3, 3), lambda x: (x + 1) % 10, "rule 0, setting 2"),
    ("b_margin", (0, 2), little, "rule 0, setting 2"), ("b_key", (0, 0, 1), up, "rule 0, setting 0"),
    ("c_full", (0, 39, 1, 1), lambda x: (x + 1) % 10, "rollout 0"), ("c_start10_dT1", (0, 26, 0, 0), lambda x: (x + 1) % 10, "rollout 0"),
    ("c_start3_dT2", (0, 9, 0, 0), lambda x: (x + 1) % 10, "rollout 0"), ("c_nonargmax_cells", (0, 20), up, "rollout 0"),
    ("c_nonargmax_maxgap", (0, 20), lambda x: x + np.float32(1e-5), "rollout 0"), ("c_assign_12sims_5rules", (7,), up, "assignment"),
    ("c_sim_key", (0,), up, "rollout 0"), ("c_out_bias", (0, 0), little, "rollout 0"),
    ("e0_cfg", (4,), up, "row 0"), ("e0_tokens", (0, 1025), up, "row 0"), ("e3_tok_targets", (0, 0), up, "row 0"),
    ("e5_input", (0, 1023), up, "row 0"), ("e8_labels", (0, 3), up, "row 0"), ("e7_grids", (0, 19, 0, 0), lambda x: 1 - x, "row 0"),
    ("f_gz_bytes", (2,), up, "case 2"), ("f_ratio", (2,), little, "case 2"), ("f_accept_050_100", (1,), flip, "case 1"),
    ("f_accept_030_040", (1,), flip, "case 1"), ("f_tokens", (0, 359), up, "case 0"), ("f2_grids", (2, 0, 0, 0), lambda x: (x + 1) % 10, "case 2"),
    ("f3_ratio", (0,), little, "case 0"),
], ids=lambda x: x if isinstance(x, str) else "")
def test_poisoned_record_is_named(name, at, change, record):
    group = next(g for g in ("abias", "a", "b", "c", "d_n15_g12", "d_n3_g6", "e0", "e3", "e5", "e7", "e8", "f2", "f3", "f") if name.startswith(g + "_"))
    vectors = part(*({"b": ("a", "b")}.get(group, (group,))))
    tally = parity(vectors | {name: changed(name, at, change)})
    assert [(s, r) for s, r, _ in tally.failures] == [(group, record)], tally.table()


@pytest.mark.parametrize("name, change", [
    ("g_gz_bytes", lambda x: x + 40), ("g_gz_bytes", np.sort), ("g_change_frac", lambda x: x * np.float32(.9)), ("g_change_frac", np.roll),
    ("g_occupancy_last", lambda x: x[:, ::-1] * np.float32(1.01)), ("g_w3_quantiles", lambda x: x * np.float32(1.02)), ("g_w_std", lambda x: x[::-1]),
    ("g_wo_quantiles", lambda x: np.where(np.arange(201) == 60, x + np.float32(.01), x)), ("g_quantile_levels", lambda x: x**2),
])
def test_poisoned_law_fails(name, change):
    array = VECTORS[name]
    tally = parity(part("g") | {name: np.roll(array, 7) if change is np.roll else change(array)})
    assert not tally.ok and all(section.startswith("g") for section, _, _ in tally.failures)


def test_clean_vectors_pass_and_missing_arrays_fail():
    tally = registered_task("nca").replay(VECTORS)
    assert tally.ok, tally.table()
    assert not parity({}).ok
    for lost in ("a_argmax_margin", "e0_cfg", "f_tokens", "c_rule_key", "g_w_std"):
        group = part(lost.split("_")[0])
        group.pop(lost)
        assert not parity(group).ok, lost
    meta = json.loads(str(VECTORS["meta_json"]))
    assert not parity({"meta_json": np.array(json.dumps(meta | {"repo": "elsewhere"}))}).ok


@pytest.mark.slow
def test_full_vectors():
    full = find_vectors("nca", "dev.npz")
    if full is None or ROOT in full.parents: pytest.skip("only the committed part is here")
    tally = parity(load_vectors(full))
    assert tally.ok, tally.table()


# chance

def test_states_are_drawn_from_the_softmax():
    "Chi-square of 40,000 coins per temperature on one cell's logits, dead cells included."
    from scipy.stats import chisquare
    coins = uniforms(torch.tensor(99), torch.arange(40_000))[None]
    for logits in ([0.0, 1e-4, 3e-4, -2e-4], [0.0] * 4, [2.0, 0.0, 0.0, 1.9999]):
        z = torch.tensor([logits], dtype=torch.float64)
        counts = pick(z, coins, 1e-4)[0].bincount(minlength=4).numpy()
        want = torch.softmax(z[0] / 1e-4, 0).numpy() * 40_000
        likely = want > 5
        assert counts[~likely].sum() <= 5 and chisquare(counts[likely], want[likely] * counts[likely].sum() / want[likely].sum()).pvalue > 1e-4


def some_rules(count: int, states: int = 10, **more) -> tuple[Rules, torch.Tensor, torch.Tensor]:
    "Rules, random grids and keys."
    numbers, _, _, keys = draw(item_rngs(4, "train", 0, range(count), lane=2), NCAConfig(num_states=states, complexity_min=0.0, **more))
    grids = torch.randint(0, states, (count, 12, 12), dtype=torch.int32, generator=torch.Generator().manual_seed(states))
    return Rules(**layers(numbers, layer_shapes(states, more.get("channel_wrap", True)))), grids, keys


@pytest.mark.parametrize("states", [2, 3, 10, 15])
@pytest.mark.parametrize("temperature, identity", [(0.0, 0.0), (1e-4, 0.0), (1e-3, 0.5), (1.0, 0.0), (0.5, 2.0)])
def test_the_quick_pass_never_overrules_the_careful_one(states, temperature, identity):
    rules, grids, keys = some_rules(48, states)
    ours = update(rules, grids, 3, keys, temperature, identity)
    h = automata.hidden(grids, rules.table)
    rule, cell = (x.flatten() for x in torch.meshgrid(torch.arange(48), torch.arange(144), indexing="ij"))
    coins = uniforms(keys[rule], 3 * 144 + cell)[:, None]
    assert (ours.flatten() == pick(exact_logits(rules, grids, h, rule, cell, identity), coins, temperature)[:, 0]).all()


def test_a_dead_cell_is_uniform_when_warm_and_zero_when_cold():
    blank = {k: torch.zeros(2000, *s) for k, s in zip(automata.LAYERS, [(3, 3, 12, 4), (4,), (4, 16), (16,), (16, 10), (10,)])}
    rules, grids, keys = Rules(**blank), torch.ones(2000, 3, 3, dtype=torch.int32), torch.arange(2000) * 7919
    assert not update(rules, grids, 0, keys, 0.0).any()
    counts = update(rules, grids, 0, keys, 1e-4).flatten().bincount(minlength=10)
    assert (counts - 1800).abs().max() < 5 * 1800**.5


# one function of the address

@pytest.mark.parametrize("settings", [{}, {"num_states": 2, "complexity_min": .1}, {"channel_wrap": False}, {"temperature": 0.0},
                                      {"temperature": .3, "complexity_min": .6}, {"identity_bias": .2, "complexity_min": .1},
                                      {"grid_size": 15, "patch_size": 3, "num_states": 4, "complexity_min": .05, "rollout_stride": 2}])
def test_alone_in_a_batch_and_in_any_order(settings):
    data = create_task("nca", settings, sequence_count=10**6).build_datasets(3).train_dataset
    together = [x.ids.tolist() for x in data.batch([40, 2, 999_999, 2, 17])]
    assert [data.example(i).ids.tolist() for i in (40, 2, 999_999, 2, 17)] == together
    assert together[1] == data.batch(range(40))[2].ids.tolist()


def test_batches_of_every_size_agree():
    c = NCAConfig()
    drawn = draw(item_rngs(8, "train", 0, range(300), lane=2), c)
    whole = run(*drawn, c, 6)
    for low, high in ((0, 1), (5, 7), (250, 300), (17, 50)):
        assert (run(*(x[low:high] for x in drawn), c, 6) == whole[low:high]).all()


@pytest.mark.slow
def test_compiled_and_eager_agree(monkeypatch):
    "For several kinds of automata, and whatever the number of rules; skipped where there is no compiler."
    for states, temperature in ((10, 1e-4), (2, 1e-4), (15, 1e-2)):
        rules, grids, keys = some_rules(96, states)
        fast = automata.compiled("cpu", 12, 12, states, 16, temperature, 0.0)
        if fast is glance: pytest.skip("torch.compile is not available here")
        ours = theirs = grids
        for step in range(12):
            ours, theirs = update(rules, ours, step, keys, temperature), update(rules, theirs, step, keys, temperature, glance=fast)
            assert (ours == theirs).all()
    plain = create_task("nca").examples(0, "train", 0, range(40))
    monkeypatch.setenv("PPTRAIN_COMPILE", "1")
    assert [x.ids.tolist() for x in create_task("nca").examples(0, "train", 0, range(40))] == [x.ids.tolist() for x in plain]


def test_without_a_compiler_it_goes_on(monkeypatch):
    def broken(*a, **k): raise RuntimeError("no compiler")
    monkeypatch.setattr(torch, "compile", lambda *a, **k: broken)
    monkeypatch.setenv("PPTRAIN_COMPILE", "1")
    automata.compiled.cache_clear()
    with pytest.warns(UserWarning, match="torch.compile is not available"):
        x = create_task("nca", preset="smoke").examples(0, "train", 0, range(16))[3]
    automata.compiled.cache_clear()
    monkeypatch.setenv("PPTRAIN_COMPILE", "0")
    assert x.ids.tolist() == create_task("nca", preset="smoke").sample(3).ids.tolist()


def test_rules_of_a_pool_come_again():
    task = create_task("nca", rule_count=5, eval_rule_count=3)
    train, held = task.examples(0, "train", 0, [1, 6, 11]), task.examples(0, "eval", 0, [0, 3])
    assert [x.meta["rule"] for x in train] == [1, 1, 1] and len({x.ids.tobytes() for x in train}) == 3
    assert [x.meta["rule"] for x in held] == [0, 0] and len({x.meta["gzip_bytes"] for x in train}) == 1
    kept = create_task("nca", regenerate_train_each_epoch=False)
    assert kept.examples(0, "train", 4, [2])[0].ids.tolist() == kept.sample(2).ids.tolist()


# any device

class Ops(TorchDispatchMode):
    "Names of the operations that pass."
    def __init__(self):
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        self.seen.add(op.name().removeprefix("aten::").split(".")[0])
        return op(*args, **(kwargs or {}))


# all of these have CUDA kernels in torch 2.6 and later
ON_ANY_DEVICE = {
    "_embedding_bag_forward_only", "_reshape_alias", "_to_copy", "_unsafe_view", "add", "add_", "amax", "arange", "argmax", "baddbmm",
    "bitwise_and", "bitwise_left_shift", "__lshift__", "__rshift__", "bitwise_right_shift", "bitwise_xor", "bmm", "cat", "clamp", "clone",
    "cumsum", "detach", "div", "empty", "eq", "expand", "fill_", "floor", "full", "full_like", "gather", "ge", "index", "index_put_",
    "log", "maximum", "minimum", "mul", "mul_", "nonzero", "permute", "reciprocal", "relu", "relu_", "round", "round_", "rsub", "scatter_",
    "searchsorted", "select", "slice", "split", "stack", "sub", "sum", "transpose", "unbind", "unsqueeze", "view", "where", "zeros",
    "zeros_like", "scalar_tensor", "sub_", "squeeze", "as_strided", "lift_fresh", "alias", "empty_like", "copy_"}


def test_no_operation_of_the_loop_is_for_cpu_only():
    rules, grids, keys = some_rules(16)
    with Ops() as ops: rollout(rules, grids, keys, 2, 3)
    assert ops.seen and not ops.seen - ON_ANY_DEVICE
    assert "_local_scalar_dense" not in ops.seen, "a number leaves the device in every step"


def test_the_loop_makes_no_tensor_on_another_device():
    "On torch's `meta` device a stray CPU tensor is an error, as it is on a GPU."
    rules, grids, keys = some_rules(16)
    far = Rules.__new__(Rules)
    for name in ("table", "out", "bias", "slack"): setattr(far, name, getattr(rules, name).to("meta"))
    best, coins, doubt, h = glance(grids.to("meta"), far.table, far.out, far.bias, far.slack, keys.to("meta"), 1e-4, .1)
    rule = cell = torch.zeros(9, dtype=torch.int64, device="meta")
    z = exact_logits(far, grids.to("meta"), h, rule, cell, .1)
    assert pick(z, coins[rule, cell, None], 1e-4).device.type == best.device.type == doubt.device.type == "meta"
    assert automata.start_grids(torch.zeros(4, 10, dtype=torch.float64, device="meta"), torch.zeros(4, 144, dtype=torch.float64, device="meta")).is_meta


@pytest.mark.gpu
def test_a_gpu_makes_the_same_films_fast():
    if not torch.cuda.is_available(): pytest.skip("no GPU")
    here, there = create_task("nca"), create_task("nca")
    there.device = "cuda"
    assert [x.ids.tolist() for x in there.examples(1, "train", 0, range(40))] == [x.ids.tolist() for x in here.examples(1, "train", 0, range(40))]
    c = NCAConfig()
    drawn = [x.repeat_interleave(32, 0) for x in draw(item_rngs(0, "train", 0, range(512), lane=2), c)]
    run(*drawn, c, 27, "cuda"); torch.cuda.synchronize()
    start = time.perf_counter()
    run(*drawn, c, 27, "cuda"); torch.cuda.synchronize()
    print(f"{16_384 * 1024 / (time.perf_counter() - start) / 1e6:.1f}M tokens/s without filter")


# presets and datasets

@pytest.mark.parametrize("name", PRESETS)
def test_preset(name):
    preset = registered_task("nca").preset(name)
    task = create_task("nca", preset=name)
    for x in task.examples(1, "train", 0, range(3)):
        assert task.config.complexity_min < x.meta["gzip_ratio"] < task.config.complexity_max
        assert len(x) == task.config.max_length and grids_of(x, task.config).max() < task.config.num_states
        assert x.mask.sum() == len(x) - ((task.config.grid_size // task.config.patch_size) ** 2 + 2)
    if name.startswith("paper"):
        run_config = RunConfig("/tmp/x", **preset.training)
        assert run_config.learning_rate == 1e-4 and run_config.warmup_steps == 5000
        assert len(x) - 1 == 1024 and x.mask.sum() == 987 and preset.config["sequence_count"] == 16_000
        assert (preset.config["eval_sequence_count"], preset.config["eval_rule_count"]) == (3200, 2000)


def test_a_model_is_asked_for_the_official_pairs():
    "The loss of a Hugging Face model on our unshifted labels is its cross-entropy on the paper's shifted ones."
    from transformers import GPT2Config, GPT2LMHeadModel
    torch.manual_seed(0)
    task = create_task("nca", preset="smoke")
    data = task.build_datasets(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(task.vocab), n_positions=256, n_embd=16, n_layer=1, n_head=2)).eval()
    examples = data.train_dataset.batch(range(4))
    with torch.no_grad(): out = model(**data.data_collator([x.features() for x in examples]))
    pairs = [x.official for x in examples]
    logits = model(input_ids=torch.tensor([p["input"] for p in pairs])).logits.detach()
    labels = torch.tensor([p["labels"] for p in pairs])
    assert out.loss.item() == pytest.approx(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()).item(), rel=1e-5)


def test_a_run_of_160_000_is_light():
    "Built, and the first batch of 16 made, in a process of its own: CPU seconds and memory beyond the imports."
    code = ("import resource, time, torch; torch.set_num_threads(1); from pptrain.core import create_task\n"
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\nbefore, start = peak(), time.process_time()\n"
            "data = create_task('nca', preset='paper_web_text', sequence_count=160_000).build_datasets(0)\n"
            "batch = data.data_collator(data.train_dataset.__getitems__(range(16)))\n"
            "print(batch['input_ids'].shape[1], time.process_time() - start, (peak() - before) / 1024)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    length, seconds, megabytes = map(float, done.stdout.split())
    assert length == 1025 and seconds < 5 and megabytes < 1000


def test_workers_and_a_resumed_loader_see_the_same():
    data = create_task("nca", preset="smoke", sequence_count=64).build_datasets(2).train_dataset
    whole = [row["input_ids"].tolist() for row in data.__getitems__(range(64))]
    loader = DataLoader(data, 8, sampler=range(64), collate_fn=list, num_workers=2)
    assert [row["input_ids"].tolist() for batch in loader for row in batch] == whole
    rest = DataLoader(data, 8, sampler=range(24, 64), collate_fn=list)
    assert [row["input_ids"].tolist() for batch in rest for row in batch] == whole[24:]


@pytest.mark.parametrize("settings, says", [
    ({"num_states": 4}, "reach a gzip ratio of 0.4"), ({"num_states": 4, "complexity_min": .42, "max_rule_attempts_per_sequence": 40}, "40 attempts"),
    ({"max_length": 38}, "works is 39"), ({"patch_size": 5}, "multiple of patch_size=5"), ({"complexity_min": .4, "complexity_max": .3}, "min < max"),
    ({"num_state": 9}, "num_states"), ({"temperature": -1.0}, "temperature"), ({"hidden_dim": 64}, "at most 32"), ({"num_states": 36}, "2^18"),
    ({"preset": "paper_webtext"}, "paper_web_text"), ({"rule_count": 0}, "rule_count=0"),
])
def test_refusals(settings, says):
    with pytest.raises(InputError) as told: create_task("nca", settings).sample(0)
    assert says in str(told.value) and "\n" not in str(told.value)


def test_weights_beyond_reason_are_refused():
    numbers = torch.ones(1, sum(int(np.prod(s)) for s in shapes_of(NCAConfig()))) * 60
    with pytest.raises(InputError, match="not supported"): Rules(**layers(numbers, shapes_of(NCAConfig())))
