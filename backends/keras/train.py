"""Prints `train.py`: a recipe as a Keras script, with what this recipe uses and no more."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from cnnspec.backends.keras.layouts import Layouts
from cnnspec.backends.keras.optimizer_text import SNIPPETS, optimizer_text
from cnnspec.backends.keras.printer import print_program
from cnnspec.backends.keras.start_text import start_text
from cnnspec.backends.keras.table import TABLE, Noted, layer_name
from cnnspec.lower.files import render
from cnnspec.lower.program import Layer, walk
from cnnspec.lower.python import Code, Group, assigned, call, docstring, lines, literal, named, prefixed
from cnnspec.spec.recipe.augment import Mixup
from cnnspec.spec.recipe.model import ConfusionMatrix, PerClass, TopK
from cnnspec.spec.recipe.schedule import ReduceOnPlateau
from cnnspec.train.collect import collect, read, unsettled
from cnnspec.train.data_file import least_share
from cnnspec.train.features import feature_cut
from cnnspec.train.head import head, imported, title
from cnnspec.train.phases import phases, unlearnt
from cnnspec.train.rates import learning_rates
from cnnspec.train.specialise import specialise

if TYPE_CHECKING:
    from cnnspec.expr import Value
    from cnnspec.graph import Node
    from cnnspec.lower.program import Program
    from cnnspec.spec.recipe.model import Recipe

_LOOP = f"{SNIPPETS}.loop"
_SCHEDULE = "cnnspec.train.snippets.schedule"


def train_source(program: Program, recipe: Recipe) -> str:
    """The text of `train.py` for a network and its recipe."""
    return _Printer(program, recipe).text()


class _Printer:
    def __init__(self, program: Program, recipe: Recipe) -> None:
        self.program = program
        self.printed = print_program(program, Layouts(program))
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
        self.phases = phases(program.graph)
        cut = feature_cut(program.graph, recipe, program)
        self.cut = None if isinstance(cut, str) else cut
        self.optimizer = optimizer_text(recipe, self.phases)
        self.on = self._on()
        several = ("HEADS", "ACCUMULATES", "CACHES")  # models: what compiles them is a function
        self.compiles = any(self.on[name] for name in several)

    def _on(self) -> dict[str, bool]:
        """The switches of the loop and of optimisers, and which of them this recipe turns on."""
        recipe, kept, optimizer = self.recipe, self.recipe.checkpoints, self.recipe.optimizer
        tables = {type(metric) for metric in recipe.metrics} & {PerClass, ConfusionMatrix}
        stop, plateau = recipe.early_stop is not None, isinstance(recipe.schedule, ReduceOnPlateau)
        return {
            "ACCUMULATES": recipe.gradient_accumulation > 1,
            "AMSGRAD": getattr(optimizer, "amsgrad", False),
            "BALANCED": self.balanced,
            "CACHES": self.cut is not None,
            "CENTERED": getattr(optimizer, "centered", False),
            "CONFUSION": ConfusionMatrix in tables,
            "EMA": recipe.ema is not None,
            "EVERY": kept.every > 1,
            "HEADS": self.heads,
            "KEEPS": kept.keep != "all",
            "LATE": bool(self.phases.unfreeze),
            "MIXED": recipe.precision != "float32",
            "MOMENTUM": getattr(optimizer, "momentum", 0) > 0,
            "NESTEROV": getattr(optimizer, "nesterov", False),
            "NORMS": least_share(self.program.graph) > 0,
            "ONE_HOT": self.one_hot,
            "PER_CLASS": PerClass in tables,
            "PLATEAU": plateau,
            "RESTORES": bool(recipe.restored_file),
            "SAVES": bool(recipe.best_files),
            "STEPS": kept.steps is not None,
            "STOPS": stop,
            "TABLES": bool(tables),
            "VALIDATES": recipe.validates,
            "WATCHES": bool(recipe.best_files) or stop or plateau,
        }

    def text(self) -> str:
        """The whole file."""
        recipe = self.recipe
        optimizer = self.optimizer
        rates = learning_rates(recipe)
        start = start_text(self.program, recipe)
        self.wanted |= {*optimizer.wanted, *rates.wanted, *start.wanted}
        before = [*optimizer.parts, *self.compiled(), *start.parts]
        after = [rates.text, *self.make_watchers()]
        step = "accumulated_step" if self.on["ACCUMULATES"] else "train_step"
        if any("np." in part for part in start.parts):
            self.imports.add("import numpy as np")
        loop = self._specialised([step, "train", "main"])
        made = self.make_model("network", bool(start.parts))
        found = collect(sorted(self.wanted))
        definitions = [specialise(text, self.on) for text in found.definitions]
        constants = self.constants()
        constants += unsettled(found.values, constants)
        imports = {*found.imports, *self.imports}
        others = [*imports, *constants, *definitions, *before, made, *after, *loop]
        statement, network = imported(self.printed.function, "network", others)
        return render(
            "train_keras.py.jinja",
            docstring=docstring(title(self.program.name, recipe)),
            imports=head({*imports, statement}),
            constants=constants,
            parts=[*definitions, *before, self.make_model(network, bool(start.parts)), *after, *loop],
        )

    def constants(self) -> list[str]:
        """The recipe's numbers."""
        recipe, kept = self.recipe, self.recipe.checkpoints
        found: dict[str, Value] = {
            "EPOCHS": recipe.epochs,
            "BATCH_SIZE": recipe.batch_size,
            "LEARNING_RATE": recipe.optimizer.learning_rate,
            "SEED": recipe.seed,
        }
        if self.on["ACCUMULATES"]:
            found["ACCUMULATION"] = recipe.gradient_accumulation
        if recipe.early_stop:
            found["PATIENCE"] = recipe.early_stop.patience
        if self.on["EVERY"]:
            found["CHECKPOINT_EPOCHS"] = kept.every
        if kept.steps:
            found["CHECKPOINT_STEPS"] = kept.steps
        if kept.keep != "all":
            found["KEEP"] = kept.keep
        if recipe.precision != "float32":
            found["PRECISION"] = recipe.precision
        if recipe.best_files:
            found["BEST_FILES"] = tuple(recipe.best_files)
        if recipe.restored_file:
            found["RESTORED"] = recipe.restored_file
        text = [f"{name} = {literal(value)}" for name, value in found.items()]
        names = ["loss", *(metric.name for metric in recipe.metrics if metric.is_number)]
        text += lines(_list("FIGURES = ", [literal(name) for name in names]))
        if isinstance(recipe.loss.class_weights, list):
            text += lines(_list("CLASS_WEIGHTS = ", [literal(w) for w in recipe.loss.class_weights]))
        if self.cut:
            text.append(f"CUT = {literal(self._layer(self.cut.node))}  # up to it, all stays frozen")
        return text + self.phases.constants(layer_name)

    def _layer(self, node: Node) -> str:
        """The name of the layer whose output is a node's: what does nothing in Keras is no layer."""
        steps = [step for definition in self.program.definitions for step in walk(definition.steps)]
        ops = {node: op for step in steps if isinstance(step, Layer) for op in step.ops for node in op.nodes}
        while not TABLE[ops[node].kind](ops[node], Noted()):
            (node,) = node.inputs
        return layer_name(node.path)

    def compiled(self) -> list[str]:
        """The function that gives a model its loss and metrics, where there are several to give them to."""
        if not self.compiles:
            return []
        metrics = self._metrics()
        optimizer = "optimizer: keras.Optimizer | None = None"
        head = lines(
            call("def compiled", "model: keras.Model", "loss: keras.Loss", optimizer), 0, suffix=" -> keras.Model:"
        )
        body = ['    """The model with a loss and the metrics that are watched."""']
        if self.heads:
            weights = ", ".join(literal(float(output.loss_weight)) for output in self.outputs)
            trained = [i == 0 or output.training_only for i, output in enumerate(self.outputs)]
            losses = _list("losses = ", ["loss" if each else "None" for each in trained])
            body += [
                "    heads = len(model.outputs) - 1",
                *([] if all(trained) else lines(losses, 4)),
                f"    weights = [{weights}]",
                *lines(_list("metrics = ", metrics), 4),
                "    model.compile(",
                "        optimizer,",
                "        [loss] * (1 + heads)," if all(trained) else "        losses[: 1 + heads],",
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
        sparse = "" if self.one_hot else "Sparse"
        top_k = f"{sparse}TopK" if self.on["MIXED"] else f"keras.metrics.{sparse}TopKCategoricalAccuracy"
        found = []
        for metric in self.recipe.metrics:
            if isinstance(metric, TopK):
                found.append(f'{top_k}({metric.k}, name="{metric.name}")')
                self.wanted |= {f"{SNIPPETS}.metrics:{top_k}"} if self.on["MIXED"] else set()
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
        return lines(assigned("loss", made), 4)

    def make_model(self, network: str, initial: bool) -> str:
        """The function that makes the network, which is called `network` there, ready to train."""
        training = f"{self.printed.training}=True" if any(head.training_only for head in self.program.heads) else ""
        items = ["args: argparse.Namespace"]
        if self.balanced:
            items.append("class_weights: np.ndarray")
            self.imports.add("import numpy as np")
        self.wanted |= {f"{SNIPPETS}.devices:Mirrored", f"{SNIPPETS}.state:load_weights"}
        self.wanted |= {f"{SNIPPETS}.layers:freeze"} if self.phases.frozen else set()
        body = [
            '    """The network, ready to be trained."""',
            f"    model = {network}({training})",
            *(["    freeze(model)"] if self.phases.frozen else []),
            '    if "," in args.device:',
            "        model = Mirrored(model.inputs, model.outputs)",
            "    if args.weights:",
            "        load_weights(model, args.weights)",
            *(["    else:", "        init_weights(model)"] if initial else []),
            *("    " + line for line in unlearnt(self.program.graph)),
            *self._loss(),
            *(
                lines(assigned("model", call("compiled", "model", "loss", self.optimizer.call)), 4)
                if self.compiles
                else self._compile(self.optimizer.call)
            ),
            "    model.optimizer.build(model.trainable_variables)",
            "    return model",
        ]
        head = lines(call("def make_model", *items), 0, suffix=" -> keras.Model:")
        return "\n".join([*head, *body])

    def make_watchers(self) -> list[str]:
        """The function that makes what watches figures."""
        recipe, found = self.recipe, []
        for name, monitor in recipe.best_files.items():
            found.append((f"{name}_epoch", call("Best", literal(monitor))))
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
            body += lines(prefixed(f'"{name}": ', made), 8, ",")
        head = f"def make_watchers() -> dict[str, {kind}]:"
        return ["\n".join([head, '    """What watches the figures of epochs."""', *body, "    }"])]

    def _specialised(self, names: list[str]) -> list[str]:
        """Functions of the loop with their switches settled, and those that they use, in the loop's order."""
        content = read(_LOOP)
        texts: dict[str, str] = {}

        def take(name: str) -> None:
            texts[name] = specialise(content.definitions[name].text, self.on)
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
