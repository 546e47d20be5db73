"""Every name of the contract, used as it is meant: read by the type checkers, never run."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import pptrain
from pptrain import (
    Example, InputError, PrePreTrainer, PrePreTrainingRun, Recipe,
    ReinitializeEmbeddingTransferPolicy, RunConfig, SkipParametersTransferPolicy, TaskPreset,
    TransferBundle, TransferReport, create_task, load_recipe, register_task, registered_presets,
    registered_tasks,
)
from pptrain.core import (
    DatasetBundle, ExecutedSymbolicTask, SymbolicTask, SymbolicTaskFamily, Task, TokenizerSpec,
    TokenSequenceTask, register_family,
)
from pptrain.data import TaskDataset, create_control, registered_controls, shuffled
from pptrain.eval import EvalConfig, run_transfer_evaluation
from pptrain.grid import RunSpec, plan, run_grid
from pptrain.integrations import (
    CallableCausalLMAdapter, CausalLMAdapter, HFCausalLMAdapter, HFModelConfig,
    VocabSizeCausalLMAdapter,
)
from pptrain.measure import (
    exact_match, perplexity, registered_measures, token_saving, tokens_to_reach,
)
from pptrain.study import COLUMNS, Claim, Decision, configure, decide, judge
from pptrain.transfer import TransferPolicy, create_policy, registered_policies
from pptrain.widgets import compare, explore, inspect, monitor


def data() -> None:
    task: Task = create_task("dyck", {"preset": "smoke"}, sequence_count=100)
    example: Example = task.sample(3, split="train", seed=1)
    text: str = example.text
    ids: np.ndarray = example.ids
    mask: np.ndarray = example.mask
    bundle: DatasetBundle = task.build_datasets(seed=0)
    row: dict[str, torch.Tensor] = TaskDataset(task.build_datasets(0).train_dataset.examples, 10)[0]
    soup: TaskDataset = shuffled(bundle.train_dataset)
    print(perplexity(torch.nn.Identity(), soup), perplexity(torch.nn.Identity(), [soup[0]]))
    names: list[str] = [entry.name for entry in registered_tasks()]
    presets: tuple[TaskPreset, ...] = registered_presets("dyck")
    digest: str = task.fingerprint(seed=2)
    ops: tuple[str, ...] = task.op_names()
    drawn: list[tuple[str, str]] = task.steps(example)
    print(text, ids, mask, row["labels"], soup, names, presets, digest, ops, drawn)
    print(task.summary(), task.knobs())
    for name in registered_controls():
        print(create_control(name)(bundle.train_dataset))


class Echo(SymbolicTaskFamily):
    "A family of one's own."
    name = "echo"

    def sample_task(self, rng: np.random.Generator) -> SymbolicTask:
        return SymbolicTask("echo", rng.integers(3, size=4).tolist())

    def execute_task(self, task: SymbolicTask) -> ExecutedSymbolicTask:
        return ExecutedSymbolicTask(task.name, (task.payload, task.payload))

    def serialize_task(self, executed: ExecutedSymbolicTask, spec: TokenizerSpec) -> list[int]:
        return [*executed.payload[0], *executed.payload[1]]


class Noise(TokenSequenceTask):
    "One sequence at a time."
    name = "noise"

    def tokenizer_spec(self) -> TokenizerSpec:
        return TokenizerSpec(vocab_size=8, pad_token_id=7)

    def sample_example(self, rng: np.random.Generator,
                       spec: TokenizerSpec) -> tuple[list[int], dict[str, Any]]:
        return rng.integers(7, size=5).tolist(), {}


def own_family() -> None:
    register_task("echo", lambda values: Echo(values), presets=[TaskPreset("smoke", "Small.", {})])
    register_family(Noise)


def of_size(vocab_size: int) -> torch.nn.Module:
    return torch.nn.Linear(vocab_size, vocab_size)


def of_spec(spec: TokenizerSpec) -> torch.nn.Module:
    return of_size(spec.vocab_size)


def for_text() -> torch.nn.Module:
    return of_size(50)


def adapters() -> CausalLMAdapter:
    sized: CausalLMAdapter = VocabSizeCausalLMAdapter(
        create_prepretrain_model=of_size, load_downstream_model=for_text)
    called: CausalLMAdapter = CallableCausalLMAdapter(
        create_prepretrain_model=of_spec, load_downstream_model=for_text, name="mine")
    config = HFModelConfig("sshleifer/tiny-gpt2", config_overrides={"n_positions": 128})
    adapter = HFCausalLMAdapter(config)
    net: torch.nn.Module = adapter.load_downstream_model(vocab_size=50)
    print(sized.load_downstream_model(), called.load_downstream_tokenizer(), net)
    return adapter


def training() -> PrePreTrainingRun:
    run_config = RunConfig(
        output_dir="runs/x", max_steps=20, per_device_train_batch_size=8, logging_steps=5)
    trainer = PrePreTrainer(
        task=create_task("dyck", preset="smoke"), model_adapter=adapters(), run_config=run_config)
    run: PrePreTrainingRun = trainer.fit()
    folder: Path = run.model_dir
    loss: float = run.metrics["train_loss"]
    print(folder, loss)
    return run


def transferring(run: PrePreTrainingRun, target: torch.nn.Module) -> None:
    bundle: TransferBundle = run.load_transfer_bundle()
    again: TransferBundle = TransferBundle.load(run.run_dir)
    weights: dict[str, torch.Tensor] = bundle.state_dict()
    policy: TransferPolicy = ReinitializeEmbeddingTransferPolicy(
        embeddings="mean", positions="fresh")
    report: TransferReport = policy.apply_bundle(bundle, target)
    loaded: int = report.loaded_parameter_count
    skip = SkipParametersTransferPolicy(skip_parameter_prefixes=("lm_head",))
    same: bool = create_policy({"name": "skip_parameters", "prefixes": ["lm_head"]}) == skip
    print(again.model_dir, again.task_name, again.task_config, again.tokenizer_spec)
    print(weights, loaded, same)
    print([create_policy(name).to_dict() for name in registered_policies()], str(policy))
    print(skip.apply_state_dict(weights, target).skipped_parameters)


def measuring(net: torch.nn.Module, run: PrePreTrainingRun) -> None:
    task = create_task("procedural", preset="smoke")
    loss: float = perplexity(net, task.build_datasets(0).eval_dataset)["loss"]
    print(loss, exact_match(net, task, n=16)["by_op"], list(registered_measures()))
    print(tokens_to_reach([0, 10], [2.0, 1.0], 1.5))
    frame = pd.DataFrame({"tokens": [0, 10], "value": [2.0, 1.0]})
    saved: float = token_saving(frame, frame)
    path: Path = run_transfer_evaluation(
        bundle=run.load_transfer_bundle(), model_adapter=HFCausalLMAdapter(HFModelConfig("gpt2")),
        eval_config=EvalConfig(train_steps=10), output_dir="runs/eval")
    print(saved, path)


def studying() -> None:
    settings, seeds = configure("dyck", "test", "1,2", family="dyck", preset="smoke")
    claim = Claim(claim="It helps.", paper="2 nats", measure="loss_gain", variant="transferred")
    verdicts: pd.DataFrame = judge(pd.DataFrame(columns=COLUMNS), [claim])
    decision: Decision = decide([.1, .2, .3], direction=1, smallest_effect=.01, alpha=.05)
    print(decision.verdict, decision.effect, decision.low, decision.high, decision.needed_n + 1)
    specs: list[RunSpec] = plan("test", ["dyck"], [1, 2])
    run_grid(specs, Path("runs/grid"), 1, say=print)
    print(settings, seeds, verdicts)


def recipes() -> None:
    recipe: Recipe = load_recipe("configs/dyck_minimal.yaml")
    trainer: PrePreTrainer = recipe.trainer()
    print(recipe.to_yaml(), trainer.run_config)
    try:
        recipe.fit()
    except InputError as e:
        print(e)


def looking(run: PrePreTrainingRun, net: torch.nn.Module) -> None:
    view = explore("dyck", preset="smoke")
    page: str = view.to_html()
    print(page, view.static(), monitor("runs/x"), compare("runs/grid"), pptrain.__version__)
    crossing = inspect(run.load_transfer_bundle(), net, create_policy("copy"))
    print(crossing, inspect(run, net), inspect("runs/x", net, "skip_parameters"))
