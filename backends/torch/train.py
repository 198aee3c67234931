"""`train.py` for PyTorch: a recipe as plain code, only what it uses."""

from __future__ import annotations

from cnnspec.backends.torch.initial import init_weights
from cnnspec.backends.torch.optimizers import make_optimizer
from cnnspec.backends.torch.run import key
from cnnspec.lower.files import render
from cnnspec.lower.program import Program
from cnnspec.lower.python import Code, Group, assigned, call, camel, docstring, identifier, lines, literal, quoted
from cnnspec.spec.recipe.augment import Mixup
from cnnspec.spec.recipe.model import GlobalNorm, Metric, ParameterNorm, Recipe, TopK
from cnnspec.spec.recipe.schedule import ReduceOnPlateau
from cnnspec.train.collect import collect, merge_imports
from cnnspec.train.rates import learning_rates

_SHARED = "cnnspec.train.snippets"
_OWN = "cnnspec.backends.torch.snippets"
_ALWAYS = (
    f"{_OWN}.arguments:arguments",
    f"{_SHARED}.records:checkpoints",
    f"{_SHARED}.records:write_table",
    f"{_OWN}.processes:add_up",
    f"{_OWN}.processes:RANK",
    f"{_OWN}.metrics:means",
    f"{_OWN}.state:load_weights",
    f"{_OWN}.state:resume",
    f"{_OWN}.state:save",
)
_IMPORTS = (
    "import math",
    "import numpy as np",
    "import os",
    "import signal",
    "import sys",
    "import time",
    "import torch",
    "import torch.distributed as dist",
    "from data import DataError",
    "from data import batches",
    "from data import load_data",
    "from torch import nn",
    "from torch.nn.parallel import DistributedDataParallel",
    "from tqdm import tqdm",
)


def train_source(program: Program, recipe: Recipe) -> str:
    """The text of `train.py`."""
    return _Printer(program, recipe).text()


class _Printer:
    """Functions, and the slots of the template, each as statements; `wanted` gathers the snippets that they use."""

    def __init__(self, program: Program, recipe: Recipe) -> None:
        self.recipe = recipe
        self.graph = program.graph
        self.program = program
        self.network = identifier(camel(program.network.name), ())
        self.wanted = list(_ALWAYS)
        self.imports = {*_IMPORTS, f"from model import {self.network}"}
        self.validates = bool(recipe.split) or recipe.data.validates
        self.mixes = any(isinstance(step, Mixup) for step in recipe.augment)
        self.half = {"mixed_bfloat16": "torch.bfloat16", "mixed_float16": "torch.float16"}.get(recipe.precision)
        self.scaled = recipe.precision == "mixed_float16"
        self.numbers: list[Metric] = [metric for metric in recipe.metrics if metric.is_number]
        self.tables = [metric.kind for metric in recipe.metrics if not metric.is_number]
        further = list(enumerate(self.graph.outputs))[1:]
        self.loss_weights = {i: output.loss_weight for i, output in further if output.training_only}
        self.several = any(not output.training_only for _, output in further)  # outputs in inference
        self.accumulates = recipe.gradient_accumulation > 1
        self.images = "step_size" if self.accumulates else "args.batch_size"  # of a step
        self.frozen = [key(n.path) for n in self.graph.nodes if n.params and n.path in self.graph.frozen]
        self.drops = any(node.op.kind in ("dropout", "spatial_dropout") for node in self.graph.nodes)
        self.best, self.restores = self._best()
        self.evaluated = "average.module" if recipe.ema else "model"

    def use(self, *names: str, own: bool = True) -> None:
        """Take snippets, each MODULE:NAME, into the file."""
        self.wanted += [f"{_OWN if own else _SHARED}.{name}" for name in names]

    def _best(self) -> tuple[dict[str, str], str]:
        """The monitors whose best epochs' weights are kept, by the name of the file; that which ends training."""
        early = self.recipe.early_stop
        kept = self.recipe.checkpoints.best
        files = {"best": kept} if kept else {}
        if early is None or not early.restore_best:
            return files, ""
        if kept in (None, early.monitor):
            return {"best": early.monitor}, "best"
        return files | {"early_stop": early.monitor}, "early_stop"

    # ---- the file

    def text(self) -> str:
        """The whole file."""
        recipe = self.recipe
        rates, optimizer = learning_rates(recipe), make_optimizer(recipe)
        first = init_weights(self.graph, recipe.initializers)
        self.wanted += [*rates.wanted, *optimizer.wanted, *first.wanted]
        functions = [rates.text, first.text, *self.freeze(), optimizer.text]
        functions += [
            "\n".join(made) for made in (self.forward(), self.train_step(), self.evaluate(), self.confusion())
        ]
        slots = self.slots()
        found = collect(sorted(set(self.wanted)))
        values = [value for value in found.values if not value.startswith(("EPOCHS =", "BATCH_SIZE =", "FIGURES ="))]
        title = recipe.description or "this recipe"
        return render(
            "train_torch.py.jinja",
            docstring=docstring(f"Trains {self.program.name}: {title}"),
            imports=merge_imports({*found.imports, *self.imports}, ("data", "model")),
            constants=[*self.constants(), *values],
            parts=[part for part in [*found.definitions, *functions] if part],
            network=self.network,
            **slots,
        )

    def constants(self) -> list[str]:
        recipe = self.recipe
        names = ["loss", *(metric.name for metric in self.numbers)]
        made = [
            f"EPOCHS = {recipe.epochs}",
            f"BATCH_SIZE = {recipe.batch_size}",
            f"LEARNING_RATE = {literal(recipe.optimizer.learning_rate)}",
            f"SEED = {recipe.seed}",
            *lines(Group("FIGURES = [", tuple(map(quoted, names)), "]")),
            "Batch = tuple[np.ndarray, np.ndarray]",
        ]
        if self.frozen:
            made += lines(Group("FROZEN = [", tuple(map(quoted, self.frozen)), "]"))
        return made

    # ---- functions

    def freeze(self) -> list[str]:
        """The function that keeps some layers as they are."""
        if not self.frozen:
            return []
        return [
            "def freeze(model: nn.Module) -> None:\n"
            '    """Keep the frozen layers as they are, running statistics of norms too."""\n'
            "    for name in FROZEN:\n"
            "        model.get_submodule(name).requires_grad_(False).eval()"
        ]

    def forward(self) -> list[str]:
        """The function that runs a batch through the network."""
        made = [
            "def forward(",
            "    model: nn.Module, loss_function: nn.Module, batch: Batch, device: torch.device",
            ") -> tuple[torch.Tensor, torch.Tensor]:",
            '    """The loss, summed over a batch, and the sums for `FIGURES`."""',
            "    images, labels = (torch.from_numpy(array).to(device) for array in batch)",
            *self.outputs(),
            "    loss = loss_function(logits, labels)",
        ]
        if self.loss_weights:
            heads = ", ".join(f"({literal(weight)}, outputs[{i}])" for i, weight in self.loss_weights.items())
            made.append("    if model.training:")
            made.append(f"        for weight, other in [{heads}]:")
            made.append(
                "            loss = loss + weight * loss_function("
                + ("other.float()" if self.half else "other")
                + ", labels)"
            )
        if self.mixes and self.numbers:
            made.append("    labels = labels if labels.ndim == 1 else labels.argmax(1)")
        sums: list[Code] = ["loss.detach().double()"]
        for metric in self.numbers:
            if isinstance(metric, TopK):
                sums.append(f"(logits.topk({metric.k}).indices == labels[:, None]).sum()")
            else:
                sums.append("(logits.argmax(1) == labels).sum()")
        values = lines(call("return loss, torch.stack", Group("[", tuple(sums), "]")), 4)
        return [*made, *values]

    def outputs(self) -> list[str]:
        """Statements that make `logits`, and `outputs` where heads that train add to the loss."""
        run = "model(images.permute(0, 3, 1, 2))"  # channels first, though last in memory
        made = [f"logits = {run}[0]" if self.several and not self.loss_weights else f"logits = {run}"]
        if self.loss_weights:
            made = [f"outputs = {run}"]
        if self.half:
            made = [f"with torch.autocast(device.type, {self.half}):", "    " + made[0]]
        if self.loss_weights and self.several:
            made.append("logits = outputs[0]")
        elif self.loss_weights:
            made.append("logits = outputs[0] if model.training else outputs")
        if self.half:
            made.append("logits = logits.float()")
        return ["    " + line for line in made]

    def train_step(self) -> list[str]:
        """The function that updates the weights once."""
        batch = "group: list[Batch]" if self.accumulates else "batch: Batch"
        arguments = ["model: nn.Module", "loss_function: nn.Module", "optimizer: torch.optim.Optimizer"]
        arguments += ["scaler: torch.amp.GradScaler"] if self.scaled else []
        arguments += [batch, "share: float", "device: torch.device"]
        made = ["def train_step(", *(f"    {argument}," for argument in arguments), ") -> torch.Tensor:"]
        made.append('    """Update the weights with `share` times a sum of losses; returns sums."""')
        backward = "(loss * share).backward()"
        backward = f"scaler.scale{backward[:-11]}.backward()" if self.scaled else backward
        if self.accumulates:
            made += ["    sums = []", "    for batch in group:"]
            made += ["        loss, summed = forward(model, loss_function, batch, device)"]
            made += [f"        {backward}", "        sums.append(summed)"]
        else:
            made += ["    loss, sums = forward(model, loss_function, batch, device)", f"    {backward}"]
        made += [f"    {line}" for line in self.clip()]
        made += ["    scaler.step(optimizer)", "    scaler.update()"] if self.scaled else ["    optimizer.step()"]
        made.append("    optimizer.zero_grad()")
        made.append("    return torch.stack(sums).sum(0)" if self.accumulates else "    return sums")
        return made

    def clip(self) -> list[str]:
        """Statements that limit gradients."""
        clip = self.recipe.clip
        if clip is None:
            return []
        maximum = literal(clip.maximum)
        made = ["scaler.unscale_(optimizer)"] if self.scaled else []
        if isinstance(clip, GlobalNorm):
            return [*made, f"nn.utils.clip_grad_norm_(model.parameters(), {maximum})"]
        if isinstance(clip, ParameterNorm):
            self.use("steps:clip_each")
            return [*made, f"clip_each(model.parameters(), {maximum})"]
        return [*made, f"nn.utils.clip_grad_value_(model.parameters(), {maximum})"]

    def evaluate(self) -> list[str]:
        """The function that measures on images that are held out."""
        if not self.validates:
            return []
        self.imports.add("from data import Part")
        return [
            "@torch.inference_mode()",
            "def evaluate(",
            "    model: nn.Module,",
            "    loss_function: nn.Module,",
            "    part: Part,",
            "    batch_size: int,",
            "    device: torch.device,",
            ") -> torch.Tensor:",
            '    """Sums over the images of a part, with the network as in inference."""',
            "    model.eval()",
            "    sums = torch.zeros(len(FIGURES), dtype=torch.float64, device=device)",
            "    for batch in batches(part, batch_size, rank=RANK, world=WORLD):",
            "        sums += forward(model, loss_function, batch, device)[1]",
            "    return add_up(sums)",
        ]

    def confusion(self) -> list[str]:
        """The function that counts which classes were taken for which."""
        if not self.tables:
            return []
        self.imports.add("from data import Part")
        return [
            "@torch.inference_mode()",
            "def count_taken(",
            "    model: nn.Module, part: Part, batch_size: int, device: torch.device",
            ") -> np.ndarray:",
            '    """How many images of each class, the rows, were taken for which."""',
            "    model.eval()",
            "    counts = np.zeros((len(CLASSES), len(CLASSES)), np.int64)",
            "    for images, labels in batches(part, batch_size):",
            "        inputs = torch.from_numpy(images).permute(0, 3, 1, 2).to(device)",
            f"        logits = model(inputs){'[0]' if self.several else ''}",
            "        np.add.at(counts, (labels, logits.argmax(1).cpu().numpy()), 1)",
            "    return counts",
        ]

    # ---- slots of main

    def slots(self) -> dict[str, object]:
        recipe = self.recipe
        stateful = {"model": "model", "optimizer": "optimizer"}
        set_up = lines(assigned("loss_function", self.loss()), 4)
        set_up = [line.removeprefix("    ") for line in set_up]
        watch: list[str] = []
        after_step: list[str] = []
        after_epoch: list[str] = []
        before_epoch: list[str] = []
        rate = "rates[step]"
        if recipe.ema:
            self.imports.add("from torch.optim.swa_utils import AveragedModel")
            self.imports.add("from torch.optim.swa_utils import get_ema_multi_avg_fn")
            decay = f"get_ema_multi_avg_fn({literal(recipe.ema.decay)})"
            set_up.append(f"average = AveragedModel(model, multi_avg_fn={decay})")
            after_step.append("average.update_parameters(model)")
            stateful["average"] = "average"
        if self.scaled:
            set_up.append("scaler = torch.amp.GradScaler(device.type)")
            stateful["scaler"] = "scaler"
        if isinstance(schedule := recipe.schedule, ReduceOnPlateau):
            self.use("schedule:Best", "schedule:ReduceOnPlateau", own=False)
            watched = self.watcher(schedule.monitor, schedule.min_delta)
            least = literal(schedule.minimum / recipe.optimizer.learning_rate)
            options = (literal(schedule.factor), str(schedule.patience), str(schedule.cooldown), least)
            set_up += lines(assigned("plateau", call("ReduceOnPlateau", watched, *options)), 0)
            stateful["plateau"] = "plateau"
            after_epoch.append("plateau.update(row)")
            rate = "rates[step] * plateau.scale"
        if recipe.early_stop:
            self.use("schedule:Best", own=False)
            early = recipe.early_stop
            set_up.append(f"early_stop = {self.watcher(early.monitor, early.min_delta)}")
            stateful["early_stop"] = "early_stop"
            after_epoch.append("early_stop.improves(row)")
            before_epoch += [f"if early_stop.waited >= {early.patience}:", "    break"]
        for name, monitor in self.best.items():
            self.use("schedule:Best", own=False)
            held = f"{name}_epoch"
            set_up.append(f"{held} = {self.watcher(monitor)}")
            stateful[held] = held
            watch.append(f"if {held}.improves(row) and RANK == 0:")
            watch.append(f'    save({self.evaluated}.state_dict(), args.run / "{name}.pt")')
        if self.validates:
            call_ = call("evaluate", self.evaluated, "loss_function", "data.validation", "args.batch_size", "device")
            after_epoch = [
                "if data.validation:",
                *(line[8:] for line in lines(assigned("held_out", call_), 12)),
                '    row |= means(held_out, len(data.validation), "validation_")',
                *after_epoch,
            ]
        item = _mapping("stateful: dict[str, Any] = ", stateful)
        self.imports.add("from typing import Any")
        source = call(
            "batches",
            "data.train",
            "args.batch_size",
            "epoch=epoch",
            f"start={self.start()}",
            "rank=RANK",
            "world=WORLD",
        )
        source_lines = lines(assigned("source", source), 8)
        source_lines = [line[8:] for line in source_lines]
        accumulation = recipe.gradient_accumulation
        if self.accumulates:
            self.use("groups:groups_of", own=False)
            source_lines[0] = source_lines[0].replace("source =", "single =", 1)
            source_lines.append(f"source = groups_of(single, {accumulation})")
        keep = recipe.checkpoints.keep
        every = recipe.checkpoints.every
        last = "step == steps * args.epochs"
        return {
            "prepare": ["freeze(model)"] if self.frozen else [],
            "set_up": set_up,
            "stateful": item,
            "prune": [f"for old in checkpoints(folder)[{keep}:]:", "    old.unlink()"] if keep != "all" else [],
            "before_epoch": before_epoch,
            "source": source_lines,
            "item": "group" if self.accumulates else "batch",
            "step_size": [f"step_size = {accumulation} * args.batch_size"] if self.accumulates else [],
            "images": self.images,
            "step": self.step(rate),
            "after_step": after_step + self.mid_epoch(),
            "after_epoch": after_epoch,
            "watch": watch,
            "due": ["checkpoint()"]
            if every == 1
            else [f"if stopped or (epoch + 1) % {every} == 0 or {last}:", "    checkpoint()"],
            "end": self.end(),
        }

    def start(self) -> str:
        return f"done * {self.recipe.gradient_accumulation}" if self.accumulates else "done"

    def mid_epoch(self) -> list[str]:
        steps = self.recipe.checkpoints.steps
        if not steps:
            return []
        return [
            f"if step % {steps} == 0 and step % steps:",
            "    seconds = time.perf_counter() - began",
            "    checkpoint()",
        ]

    def watcher(self, monitor: str, min_delta: float = 0.0) -> str:
        return f"Best({quoted(monitor)}{f', {literal(min_delta)}' if min_delta else ''})"

    def loss(self) -> Code:
        """What makes the loss."""
        smoothing = self.recipe.loss.label_smoothing
        options = [f"label_smoothing={literal(smoothing)}"] if smoothing else []
        weights = self.recipe.loss.class_weights
        if weights is None:
            return call("nn.CrossEntropyLoss", 'reduction="sum"', *options)
        self.use("loss:WeightedCrossEntropy")
        if weights == "balanced":
            self.use("class_weights:balanced", own=False)
            self.imports.add("from data import CLASSES")
            made = "torch.from_numpy(balanced(data.train.labels, len(CLASSES))).to(device)"
        else:
            made = f"torch.tensor([{', '.join(map(literal, weights))}], device=device)"
        return call("WeightedCrossEntropy", made, *options)

    def step(self, rate: str) -> list[str]:
        made = []
        if self.drops:
            made.append("torch.manual_seed(SEED * 2654435761 + step * WORLD + RANK)")
        made += [f"rate = {rate}", "for options in optimizer.param_groups:", '    options["lr"] = rate']
        made += [
            f"left = len(data.train) - step % steps * {self.images}",
            f"share = WORLD / min(left, {self.images})",
        ]
        arguments = ["trained", "loss_function", "optimizer", *(["scaler"] if self.scaled else [])]
        arguments += ["group" if self.accumulates else "batch", "share", "device"]
        step = call("sums += train_step", *arguments)
        return made + [line[12:] for line in lines(step, 12)]

    def end(self) -> list[str]:
        made: list[str] = []
        if self.restores:
            made.append(f'load_weights({self.evaluated}, args.run / "{self.restores}.pt")')
        save = [f'save({self.evaluated}.state_dict(), args.run / "final.pt")']
        if self.tables:
            self.imports.add("from data import CLASSES")
            save.append("part = data.test or data.validation")
            save.append("if part:")
            save.append(f"    counts = count_taken({self.evaluated}, part, args.batch_size, device)")
            for kind, function, file in (
                ("per_class", "class_rows", "per_class.csv"),
                ("confusion_matrix", "confusion_rows", "confusion.csv"),
            ):
                if kind in self.tables:
                    self.use(f"tables:{function}", own=False)
                    save.append(f'    write_table(args.run / "{file}", {function}(counts, CLASSES))')
        return [*made, "if RANK == 0:", *("    " + line for line in save)]


def _mapping(prefix: str, items: dict[str, str]) -> list[str]:
    """A dictionary's statement, laid out as `ruff format` does."""
    shown = [f'"{key}": {value}' for key, value in items.items()]
    line = f"{prefix}{{{', '.join(shown)}}}"
    return [line] if len(line) <= 84 else [prefix + "{", *(f"    {item}," for item in shown), "}"]
