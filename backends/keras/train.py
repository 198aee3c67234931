"""Prints `train.py`: a recipe as a Keras script, with what this recipe uses and no more."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from cnnspec.backends.keras.layouts import Layouts
from cnnspec.backends.keras.optimizer_text import SNIPPETS, optimizer_text
from cnnspec.backends.keras.printer import print_program
from cnnspec.backends.keras.specialise import specialise
from cnnspec.backends.keras.start_text import start_text
from cnnspec.backends.keras.table import layer_name
from cnnspec.lower.files import render
from cnnspec.lower.python import Code, Group, call, docstring, lines, literal, named
from cnnspec.spec.recipe.augment import Mixup
from cnnspec.spec.recipe.model import ConfusionMatrix, PerClass, TopK
from cnnspec.spec.recipe.schedule import ReduceOnPlateau
from cnnspec.train.collect import collect, merge_imports, read
from cnnspec.train.rates import learning_rates

if TYPE_CHECKING:
    from cnnspec.expr import Value
    from cnnspec.lower.program import Program
    from cnnspec.spec.recipe.model import Recipe

_LOOP = f"{SNIPPETS}.loop"
_SCHEDULE = "cnnspec.train.snippets.schedule"
_SWITCHES = (
    *("ACCUMULATES", "BALANCED", "BEST", "EMA", "EVERY", "HEADS", "KEEPS", "MIXED", "ONE_HOT", "PLATEAU"),
    *(
        "RESTORES",
        "STEPS",
        "STOPS",
        "TABLES",
        "WATCHES",
        "PER_CLASS",
        "CONFUSION",
        "VALIDATES",
        "AMSGRAD",
        "CENTERED",
        "NESTEROV",
        "MOMENTUM",
        "SAVES",
    ),
)
_OWN = frozenset(("main", "train", "evaluate", "train_step", "compiled", "make_model", "make_optimizer", "targets"))


def train_source(program: Program, recipe: Recipe) -> str:
    """The text of `train.py` for a network and its recipe."""
    return _Printer(program, recipe).text()


class _Printer:
    def __init__(self, program: Program, recipe: Recipe) -> None:
        self.program = program
        self.recipe = recipe
        self.outputs = program.graph.outputs
        self.heads = len(self.outputs) > 1
        self.wanted: set[str] = set()
        self.imports = {"import keras"}
        loss = recipe.loss
        self.one_hot = bool(
            loss.label_smoothing or loss.class_weights or any(isinstance(step, Mixup) for step in recipe.augment)
        )
        self.balanced = loss.class_weights == "balanced"
        nodes = program.graph.nodes
        self.frozen = [layer_name(n.path) for n in nodes if n.params and n.path in program.graph.frozen]
        self.on = self._on()

    def _on(self) -> set[str]:
        """The switches that this recipe turns on."""
        recipe, kept = self.recipe, self.recipe.checkpoints
        tables = {type(metric) for metric in recipe.metrics} & {PerClass, ConfusionMatrix}
        best, stop = kept.best is not None, recipe.early_stop is not None
        plateau = isinstance(recipe.schedule, ReduceOnPlateau)
        on = {
            "ACCUMULATES": recipe.gradient_accumulation > 1,
            "BALANCED": self.balanced,
            "BEST": best,
            "CONFUSION": ConfusionMatrix in tables,
            "EMA": recipe.ema is not None,
            "EVERY": kept.every > 1,
            "HEADS": self.heads,
            "KEEPS": kept.keep != "all",
            "MIXED": recipe.precision != "float32",
            "ONE_HOT": self.one_hot,
            "PER_CLASS": PerClass in tables,
            "PLATEAU": plateau,
            "RESTORES": recipe.early_stop is not None and recipe.early_stop.restore_best,
            "SAVES": best or (recipe.early_stop is not None and recipe.early_stop.restore_best),
            "STEPS": kept.steps is not None,
            "STOPS": stop,
            "TABLES": bool(tables),
            "VALIDATES": bool(recipe.split) or recipe.data.validates,
            "WATCHES": best or stop or plateau,
            "AMSGRAD": getattr(recipe.optimizer, "amsgrad", False),
            "CENTERED": getattr(recipe.optimizer, "centered", False),
            "NESTEROV": getattr(recipe.optimizer, "nesterov", False),
            "MOMENTUM": getattr(recipe.optimizer, "momentum", 0) > 0,
        }
        assert set(on) == set(_SWITCHES)
        return {name for name, holds in on.items() if holds}

    def text(self) -> str:
        """The whole file."""
        recipe = self.recipe
        optimizer = optimizer_text(recipe)
        rates = learning_rates(recipe)
        start = start_text(self.program, recipe)
        self.wanted |= {*optimizer.wanted, *rates.wanted, *start.wanted}
        made = [*optimizer.parts, *self.compiled(), *start.parts, self.make_model(bool(start.parts)), rates.text]
        made += self.make_watchers()
        step = "accumulated_step" if "ACCUMULATES" in self.on else "train_step"
        if any("np." in part for part in start.parts):
            self.imports.add("import numpy as np")
        loop = self._specialised([step, "train", "main"])
        found = collect(sorted(self.wanted))
        return render(
            "train_keras.py.jinja",
            docstring=docstring(self._title()),
            imports=merge_imports([*found.imports, *self.imports], ("data", "model")),
            constants=[*self.constants(), *(v for v in found.values if not v.startswith(("EPOCHS =", "BATCH_SIZE =")))],
            parts=[*(specialise(text, _SWITCHES, self.on) for text in found.definitions), *made, *loop],
        )

    def _title(self) -> str:
        recipe = self.recipe
        size = f"{recipe.batch_size} images a batch"
        return f"Train {self.program.name}: {recipe.optimizer.kind}, {recipe.epochs} epochs, {size}"

    def constants(self) -> list[str]:
        """The recipe's numbers."""
        recipe, kept = self.recipe, self.recipe.checkpoints
        found: dict[str, Value] = {
            "EPOCHS": recipe.epochs,
            "BATCH_SIZE": recipe.batch_size,
            "LEARNING_RATE": recipe.optimizer.learning_rate,
            "SEED": recipe.seed,
        }
        if "ACCUMULATES" in self.on:
            found["ACCUMULATION"] = recipe.gradient_accumulation
        if recipe.early_stop:
            found["PATIENCE"] = recipe.early_stop.patience
        if "EVERY" in self.on:
            found["CHECKPOINT_EPOCHS"] = kept.every
        if kept.steps:
            found["CHECKPOINT_STEPS"] = kept.steps
        if kept.keep != "all":
            found["KEEP"] = kept.keep
        if recipe.precision != "float32":
            found["PRECISION"] = recipe.precision
        if recipe.early_stop and recipe.early_stop.restore_best:
            same = kept.best in (None, recipe.early_stop.monitor)
            found["RESTORED"] = f"{'best' if same else 'early_stop'}.weights.h5"
        text = [f"{name} = {literal(value)}" for name, value in found.items()]
        names = ["loss", *(metric.name for metric in recipe.metrics if metric.is_number)]
        text += lines(_list("FIGURES = ", [literal(name) for name in names]))
        if isinstance(recipe.loss.class_weights, list):
            text += lines(_list("CLASS_WEIGHTS = ", [literal(w) for w in recipe.loss.class_weights]))
        if self.frozen:
            text += lines(_list("FROZEN = ", [literal(name) for name in self.frozen]))
        return text

    def compiled(self) -> list[str]:
        """The function that gives a model its loss and metrics, where there are several to give them to."""
        if not self.on & {"HEADS", "ACCUMULATES"}:
            return []
        metrics = self._metrics()
        optimizer = "optimizer: keras.Optimizer | None = None"
        head = lines(
            call("def compiled", "model: keras.Model", "loss: keras.Loss", optimizer), 0, suffix=" -> keras.Model:"
        )
        body = ['    """The model with a loss and the metrics that are watched."""']
        if self.heads:
            weights = ", ".join(literal(float(output.loss_weight)) for output in self.outputs)
            body += [
                "    heads = len(model.outputs) - 1",
                f"    weights = [{weights}]",
                *lines(_list("metrics = ", metrics), 4),
                "    model.compile(",
                "        optimizer,",
                "        [loss] * (1 + heads),",
                "        weights[: 1 + heads],",
                "        [metrics] + [[]] * heads,",
                *(["        auto_scale_loss=False,"] if self.recipe.precision == "mixed_float16" else []),
                "    )",
            ]
        else:
            body += self._compile("optimizer")
        return ["\n".join([*head, *body, "    return model"])]

    def _compile(self, optimizer: Code) -> list[str]:
        metrics = self._metrics()
        items = [optimizer, "loss", *([named("metrics", _list("", metrics))] if metrics else [])]
        if self.recipe.precision == "mixed_float16":
            items.append("auto_scale_loss=False")
        return lines(call("model.compile", *items), 4)

    def _metrics(self) -> list[str]:
        prefix = "keras.metrics." + ("" if self.one_hot else "Sparse")
        found = []
        for metric in self.recipe.metrics:
            if isinstance(metric, TopK):
                found.append(f'{prefix}TopKCategoricalAccuracy({metric.k}, name="{metric.name}")')
            elif metric.is_number:
                found.append('"accuracy"')
        return found

    def _loss(self) -> list[str]:
        """Statements that define `loss`."""
        loss = self.recipe.loss
        smoothing = [f"label_smoothing={literal(loss.label_smoothing)}"] if loss.label_smoothing else []
        if loss.class_weights:
            self.wanted.add(f"{SNIPPETS}.losses:WeightedCrossEntropy")
            weights = "class_weights" if self.balanced else "CLASS_WEIGHTS"
            made = call("WeightedCrossEntropy", weights, *smoothing)
        elif self.one_hot:
            made = call("keras.losses.CategoricalCrossentropy", "from_logits=True", *smoothing)
        else:
            made = call("keras.losses.SparseCategoricalCrossentropy", "from_logits=True")
        return lines(_assign("loss", made), 4)

    def make_model(self, initial: bool) -> str:
        """The function that makes the network, ready to train."""
        program = self.program
        printed = print_program(program, Layouts(program))
        function = printed.function
        alias = function if function not in _OWN and function not in ("data", "model") else "network"
        self.imports.add(f"from model import {function}" + (f" as {alias}" if alias != function else ""))
        training = f"{printed.training}=True" if any(head.training_only for head in program.heads) else ""
        items = ["args: argparse.Namespace"]
        if self.balanced:
            items.append("class_weights: np.ndarray")
            self.imports.add("import numpy as np")
        self.wanted |= {f"{SNIPPETS}.devices:Mirrored", f"{SNIPPETS}.state:load_weights"}
        optimizer = optimizer_text(self.recipe).call
        body = [
            '    """The network, ready to be trained."""',
            f"    model = {alias}({training})",
            *self._frozen(),
            '    if "," in args.device:',
            "        model = Mirrored(model.inputs, model.outputs)",
            "    if args.weights:",
            "        load_weights(model, args.weights)",
            *(["    else:", "        init_weights(model)"] if initial else []),
            *self._loss(),
            *(
                lines(_assign("model", call("compiled", "model", "loss", optimizer)), 4)
                if self.compiled()
                else self._compile(optimizer)
            ),
            "    model.optimizer.build(model.trainable_variables)",
            "    return model",
        ]
        head = lines(call("def make_model", *items), 0, suffix=" -> keras.Model:")
        return "\n".join([*head, *body])

    def _frozen(self) -> list[str]:
        """Statements that keep the frozen layers, and the parts that one is made of, as they are."""
        if not self.frozen:
            return []
        return [
            "    for layer in model.layers:",
            '        if any(f"{layer.name}-".startswith(f"{name}-") for name in FROZEN):',
            "            layer.trainable = False  # running statistics of norms stay too",
        ]

    def make_watchers(self) -> list[str]:
        """The function that makes what watches figures."""
        recipe, found = self.recipe, []
        if recipe.checkpoints.best:
            found.append(("best", call("Best", literal(recipe.checkpoints.best))))
        if stop := recipe.early_stop:
            delta = [literal(stop.min_delta)] if stop.min_delta else []
            found.append(("early_stop", call("Best", literal(stop.monitor), *delta)))
        if isinstance(plan := recipe.schedule, ReduceOnPlateau):
            watched = call("Best", literal(plan.monitor), literal(plan.min_delta))
            least = f"{literal(plan.minimum)} / LEARNING_RATE" if plan.minimum else "0.0"
            numbers = (literal(plan.factor), str(plan.patience), str(plan.cooldown), least)
            found.append(("plateau", call("ReduceOnPlateau", watched, *numbers)))
            self.wanted.add(f"{_SCHEDULE}:ReduceOnPlateau")
        if not found:
            return []
        self.wanted.add(f"{_SCHEDULE}:Best")
        kind = "Best | ReduceOnPlateau" if len({c.open for _, c in found}) > 1 else found[0][1].open[:-1]
        body = ["    return {"]
        for name, made in found:
            body += lines(_assign(f'"{name}"', made, ": "), 8, ",")
        head = f"def make_watchers() -> dict[str, {kind}]:"
        return ["\n".join([head, '    """What watches the figures of epochs."""', *body, "    }"])]

    def _specialised(self, names: list[str]) -> list[str]:
        """Functions of the loop with their switches settled, and those that they use, in the loop's order."""
        content = read(_LOOP)
        texts: dict[str, str] = {}

        def take(name: str) -> None:
            texts[name] = specialise(content.definitions[name].text, _SWITCHES, self.on)
            used = {n.id for n in ast.walk(ast.parse(texts[name])) if isinstance(n, ast.Name)}
            for other in sorted(used - texts.keys()):
                if other in content.definitions:
                    take(other)
                elif other in content.snippets:
                    self.wanted.add(":".join(content.snippets[other]))
                elif other in content.foreign:
                    self.imports.add(content.foreign[other])

        for name in names:
            if name not in texts:
                take(name)
        return [texts[name] for name in content.definitions if name in texts]


def _list(start: str, items: list[str]) -> Group:
    return Group(f"{start}[", tuple(items), "]")


def _assign(target: str, made: Group, sign: str = " = ") -> Group:
    return Group(f"{target}{sign}{made.open}", made.items, made.close)
