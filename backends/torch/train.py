"""`train.py` for PyTorch: a recipe as plain code, only what it uses."""

from __future__ import annotations

from cnnspec.backends.torch.initial import init_weights
from cnnspec.backends.torch.optimizers import make_optimizer
from cnnspec.backends.torch.run import key
from cnnspec.lower.files import render
from cnnspec.lower.program import Program
from cnnspec.lower.python import (
    WIDTH,
    Code,
    Group,
    assigned,
    call,
    camel,
    docstring,
    flat,
    identifier,
    lines,
    literal,
    quoted,
)
from cnnspec.spec.recipe.augment import Mixup
from cnnspec.spec.recipe.model import GlobalNorm, Metric, ParameterNorm, Recipe, TopK
from cnnspec.spec.recipe.schedule import ReduceOnPlateau
from cnnspec.train.collect import collect, unsettled
from cnnspec.train.features import feature_cut
from cnnspec.train.head import head, imported, title
from cnnspec.train.phases import phases, unlearnt
from cnnspec.train.rates import learning_rates
from cnnspec.train.specialise import specialise

_SHARED = "cnnspec.train.snippets"
_OWN = "cnnspec.backends.torch.snippets"
_ALWAYS = (
    f"{_SHARED}.arguments:arguments",
    f"{_SHARED}.records:write_table",
    f"{_OWN}.processes:add_up",
    f"{_OWN}.processes:join",
    f"{_OWN}.processes:RANK",
    f"{_OWN}.state:load_weights",
    f"{_OWN}.state:resume",
    f"{_OWN}.state:save",
)
_IMPORTS = (
    "import math",
    "import time",
    "import torch",
    "import torch.distributed as dist",
    "from data import Batch",
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
        self.wanted = list(_ALWAYS)
        self.imports = {*_IMPORTS}
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
        self.phases = phases(self.graph)
        cut = feature_cut(self.graph, recipe, program)
        self.cut = None if isinstance(cut, str) else cut
        self.drops = any(node.op.drops for node in self.graph.nodes)
        self.evaluated = "average.module" if recipe.ema else "model"
        self.measured = f"Head({self.evaluated}, cached)" if self.cut else self.evaluated

    def use(self, *names: str, own: bool = True) -> None:
        """Take snippets, each MODULE:NAME, into the file."""
        self.wanted += [f"{_OWN if own else _SHARED}.{name}" for name in names]

    # ---- the file

    def text(self) -> str:
        """The whole file."""
        recipe = self.recipe
        rates = learning_rates(recipe)
        optimizer = make_optimizer(self.graph, recipe, bool(self.phases.factors), bool(self.phases.unfreeze))
        first = init_weights(self.graph, recipe.initializers)
        self.wanted += [*rates.wanted, *optimizer.wanted, *first.wanted]
        functions = [rates.text, first.text, optimizer.text]
        functions += [
            "\n".join(made) for made in (self.forward(), self.train_step(), self.evaluate(), self.confusion())
        ]
        slots = self.slots()
        found = collect(sorted(set(self.wanted)))
        constants = self.constants()
        constants += unsettled(found.values, constants)
        on = {"CACHES": self.cut is not None, "HALF": bool(self.half)}
        definitions = [specialise(text, on) for text in found.definitions]
        parts = [part for part in [*definitions, *functions] if part]
        imports = {*found.imports, *self.imports}
        statement, network = imported(
            identifier(camel(self.program.network.name)), "Network", [*imports, *constants, *parts]
        )
        return render(
            "train_torch.py.jinja",
            docstring=docstring(title(self.program.name, recipe)),
            imports=head({*imports, statement}),
            constants=constants,
            parts=parts,
            network=network,
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
        ]
        if self.cut:
            made += [f"PRECISION = {self.half}"] if self.half else []
            made.append(f"CUT = {quoted(self.cut.name)}  # up to it, all stays frozen")
        return [*made, *self.phases.constants(key)]

    # ---- functions

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
            made.append("    if model.training:")
            for i, weight in self.loss_weights.items():
                other = f"outputs[{i}].float()" if self.half else f"outputs[{i}]"
                made.append(f"        loss = loss + {literal(weight)} * loss_function({other}, labels)")
        if self.mixes and self.numbers:
            made.append("    labels = labels if labels.ndim == 1 else labels.argmax(1)")
        sums: list[Code] = ["loss.detach()"]
        for metric in self.numbers:
            if isinstance(metric, TopK):
                sums.append(f"(logits.topk({metric.k}).indices == labels[:, None]).sum()")
            else:
                sums.append("(logits.argmax(1) == labels).sum()")
        whole = f"    return loss, torch.stack([{', '.join(map(flat, sums))}])"
        if len(whole) <= WIDTH:
            return [*made, whole]
        values = lines(assigned("sums", Group("[", tuple(sums), "]")), 4)
        return [*made, *values, "    return loss, torch.stack(sums)"]

    def outputs(self) -> list[str]:
        """Statements that make `logits`, and `outputs` where heads that train add to the loss."""
        run = "model(images.permute(0, 3, 1, 2))"  # channels first, though last in memory
        if self.cut:
            run = "model(images.movedim(-1, 1))"  # also of features without height and width
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
            self.use("steps:synchronised")
            made += ["    sums = []", "    for batch in group:"]
            made += ["        with synchronised(model, batch is group[-1]):"]
            made += ["            loss, summed = forward(model, loss_function, batch, device)"]
            made += [f"            {backward}", "        sums.append(summed)"]
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
        if not self.recipe.validates:
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
            ") -> dict[str, float]:",
            '    """Means over the images that can be read, with the network as in inference."""',
            *self.shared_buffers(),
            "    model.eval()",
            "    sums = torch.zeros(1 + len(FIGURES), dtype=torch.float64, device=device)",
            "    for batch in batches(part, batch_size, rank=RANK, world=WORLD):",
            "        sums[0] += len(batch[1])",
            "        sums[1:] += forward(model, loss_function, batch, device)[1]",
            "    images, *found = add_up(sums).tolist()",
            "    if not images:",
            '        raise DataError("no image of the validation part can be read")',
            '    names = [f"validation_{name}" for name in FIGURES]',
            "    return dict(zip(names, [each / images for each in found], strict=True))",
        ]

    def shared_buffers(self) -> list[str]:
        """Statements that give all processes the same running statistics."""
        if not any(node.op.kind == "batch_norm" for node in self.graph.nodes):
            return []
        self.use("processes:share_buffers")
        return ["    share_buffers(model)"]

    def confusion(self) -> list[str]:
        """The function that counts which classes were taken for which."""
        if not self.tables:
            return []
        self.imports |= {"from data import Part", "import numpy as np"}
        run = f"logits = model(inputs){'[0]' if self.several else ''}"
        run_lines = [f"with torch.autocast(device.type, {self.half}):", f"    {run}"] if self.half else [run]
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
            *("        " + line for line in run_lines),
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
            update = "lambda *_: average.update_parameters(model)"  # a step that is skipped is none
            set_up.append(f"optimizer.register_step_post_hook({update})")
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
        for name, monitor in recipe.best_files.items():
            self.use("schedule:Best", own=False)
            held = f"{name}_epoch"
            set_up.append(f"{held} = {self.watcher(monitor)}")
            stateful[held] = held
            watch.append(f"if {held}.improves(row) and RANK == 0:")
            watch.append(f'    save({self.evaluated}.state_dict(), args.run / "{name}.pt")')
        if recipe.validates:
            call_ = call("evaluate", self.measured, "loss_function", "data.validation", "args.batch_size", "device")
            after_epoch = [
                "if data.validation:",
                *(line[8:] for line in lines(Group("row |= " + call_.open, call_.items, call_.close), 12)),
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
        due = ["checkpoint()"]
        if every > 1:
            stops = f" or early_stop.waited >= {recipe.early_stop.patience}" if recipe.early_stop else ""
            due = [f"last = stopped or step == steps * args.epochs{stops}"]
            due += [f"if last or (epoch + 1) % {every} == 0:", "    checkpoint()"]
        return {
            **self.frozen(),
            "set_up": set_up,
            "stateful": item,
            "prune": [f'for old in sorted(folder.glob("step-*"))[:-{keep}]:', "    old.unlink()"]
            if keep != "all"
            else [],
            "before_epoch": before_epoch,
            "source": source_lines,
            "item": "group" if self.accumulates else "batch",
            "step_size": [f"step_size = {accumulation} * args.batch_size"] if self.accumulates else [],
            "images": self.images,
            "step": self.step(rate),
            "after_step": after_step + self.mid_epoch(),
            "after_epoch": after_epoch,
            "watch": watch,
            "due": due,
            "end": self.end(),
        }

    def frozen(self) -> dict[str, list[str]]:
        """What keeps layers from training, ahead of all and of each epoch."""
        run = "head" if self.cut else "model"
        wrapped = f"trained = DistributedDataParallel({run}) if WORLD > 1 else {run}"
        freeze = ["freeze(model)"] if self.phases.frozen else []
        self.wanted += [f"{_OWN}.layers:freeze"] if freeze else []
        cached = []
        prepare = [*unlearnt(self.graph), *freeze]
        wrap = ["cached = not args.no_features", "head = Head(model, cached)"] if self.cut else []
        if self.cut:
            self.use("features:Head", "features:frozen_features")
            cached = ["original = data  # for the tables"] if self.tables else []
            cached += ["if cached:", "    data, said = frozen_features(model, data, args, device)"]
            cached += ["    if RANK == 0:", "        print(said)"]
        if not self.phases.unfreeze:
            begin = ["trained.train()", *freeze] if self.recipe.validates or self.cut else []
            return {"prepare": prepare, "wrap": [*wrap, wrapped], "cached": cached, "begin": begin}
        self.use("layers:unfreeze")
        again = [*freeze, "unfreeze(model, epoch + 1)", f"{wrapped}  # anew"]
        begin = [f"{run}.train()", *again]
        return {"prepare": unlearnt(self.graph), "wrap": wrap, "cached": cached, "begin": begin}

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
        groups = "for options in optimizer.param_groups:"
        if self.phases.factors:
            made += [f"rate = {rate}", groups, '    options["lr"] = rate * options["factor"]']
        else:
            made += [groups, f'    options["lr"] = rate = {rate}']
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
        if restored := self.recipe.restored_file:
            self.imports.add("import sys")
            made.append(f'best = args.run / "{restored}.pt"')
            made.append("if not best.is_file():")
            made.append('    sys.exit("error: no epoch is the best: what is watched is not a number")')
            made.append(f"load_weights({self.evaluated}, best)")
        save = [f'save({self.evaluated}.state_dict(), args.run / "final.pt")']
        if self.tables:
            self.imports.add("from data import CLASSES")
            of = "original" if self.cut else "data"
            save.append(f"part = {of}.test or {of}.validation")
            save.append("if part:")
            save.append(f"    counts = count_taken({self.evaluated}, part, args.batch_size, device)")
            for kind, function, file in (
                ("per_class", "class_rows", "per_class.csv"),
                ("confusion_matrix", "confusion_rows", "confusion.csv"),
            ):
                if kind in self.tables:
                    self.use(f"tables:{function}", own=False)
                    save.append(f'    write_table(args.run / "{file}", {function}(counts, CLASSES))')
        leave = [
            "if WORLD > 1:",
            "    dist.barrier()  # by then gloo's threads have let go of the last sum",
            "    dist.destroy_process_group()",
        ]
        return [*leave, *made, "if RANK == 0:", *("    " + line for line in save)]


def _mapping(prefix: str, items: dict[str, str]) -> list[str]:
    """A dictionary's statement, laid out as `ruff format` does."""
    shown = [f'"{key}": {value}' for key, value in items.items()]
    line = f"{prefix}{{{', '.join(shown)}}}"
    return [line] if len(line) <= 84 else [prefix + "{", *(f"    {item}," for item in shown), "}"]
