"""Random valid specs: every op with its options, and every structure of the language, on small odd maps.

`random_spec(seed)` is the same spec for the same seed, as plain data that `text` writes as YAML. What does not compile
at its place (a window that does not fit, channels that cannot be split) is left out, and something else drawn.
`shrunk` makes a spec that shows a fault as small as it gets.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import fast_yaml

import cnnspec
from cnnspec import Net, SpecError
from cnnspec.lower.fold import fold
from cnnspec.lower.replay import differences
from cnnspec.ops import OPS, Maps
from cnnspec.verify import verify

Spec = dict[str, Any]
Layer = Any
"""A bare word, or a mapping."""

ACTIVATIONS = sorted(kind for kind, op in OPS.items() if op.role == "activation")


def text(spec: Spec) -> str:
    """The spec as YAML that a person can read."""
    return fast_yaml.dump(spec, default_flow_style=None, width=120)


def loaded(spec: Spec) -> Net:
    """The network of a spec. Raises `SpecError` where it does not compile."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "random.yaml")
        path.write_text(text(spec))
        return cnnspec.load(path)


def random_spec(seed: int) -> Spec:
    """A spec that compiles."""
    return copy.deepcopy(_written(seed))


@cache
def _written(seed: int) -> Spec:
    return _Writer(Random(seed), f"random{seed}").spec


class _Writer:
    """Writes one spec, layer after layer; `shape` is what the network has come to."""

    def __init__(self, random: Random, name: str) -> None:
        self.random = random
        size = [random.randint(5, 14), random.randint(5, 14)]
        self.spec: Spec = {
            "cnnspec": 1,
            "name": name,
            "input": {"channels": random.choice([1, 2, 3, 4, 6]), "size": size},
            "params": {
                "classes": random.randint(2, 7),
                "width": random.choice([4, 6, 8]),
                "deep": random.random() < 0.5,
            },
            "layers": [],
        }
        if self.some(0.3):
            self.spec["defaults"] = {
                "conv": random.choice([{"activation": "relu"}, {"bias": False, "norm": "batch_norm"}])
            }
        self.named: list[str] = []
        self.net: Net | None = None
        self.add([self.conv(filters="$width" if self.some(0.3) else None)]) or self.add([{"conv": 4, "kernel": 1}])
        for _ in range(random.randint(2, 7)):
            self.grow()
        self.finish()

    def some(self, chance: float) -> bool:
        return self.random.random() < chance

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    # ---- the network so far

    @property
    def shape(self) -> Any:
        if self.net is None:
            return Maps(self.spec["input"]["channels"], *self.spec["input"]["size"])
        return self.net.graph.outputs[0].node.shape

    @property
    def channels(self) -> int:
        channels: int = self.shape.channels
        return channels

    def add(self, layers: list[Layer], **sections: Any) -> bool:
        """Put layers behind what there is, and more into other sections: all of it, if that compiles."""
        spec = copy.deepcopy(self.spec)
        spec["layers"] += layers
        for section, entries in sections.items():
            spec.setdefault(section, {}).update(entries)
        try:
            net = loaded(spec)
        except SpecError:
            return False
        values = sum(
            node.shape.channels * getattr(node.shape, "height", 1) * getattr(node.shape, "width", 1)
            for node in net.graph.nodes
        )
        if values > 60_000:
            return False
        self.spec, self.net = spec, net
        return True

    def grow(self) -> None:
        """Add something, of many drawn the first that fits."""
        for _ in range(12):
            if isinstance(self.shape, Maps):
                kinds = [self.plain] * 5 + [
                    self.branches,
                    self.residual,
                    self.block,
                    self.stage,
                    self.table,
                    self.wiring,
                    self.gate,
                ]
            else:
                kinds = [self.plain, self.plain, self.branches, self.wiring]
            made = self.random.choice(kinds)()
            layers, sections = made if isinstance(made, tuple) else (made, {})
            if self.add(layers, **sections):
                return

    def finish(self) -> None:
        ends: list[list[Layer]] = [[], [{"dense": "$classes", "name": "fc"}]]
        if isinstance(self.shape, Maps):
            ends = [[], ["flatten", {"dense": "$classes", "name": "fc"}], ["global_avg_pool", {"dense": "$classes", "name": "fc"}],
                    ["global_max_pool", {"dense": "$classes"}], [{"adaptive_avg_pool": 1}, "flatten", {"dense": "$classes"}]]  # fmt: skip
        self.add(self.random.choice(ends))
        assert self.net
        for name in self.random.sample(self.named, min(len(self.named), self.pick(0, 0, 1, 2))):
            layers = self.pick(
                [],
                ["global_avg_pool", {"dense": 3}],
                [{"conv": 2, "kernel": 1, "norm": "batch_norm"}, "global_max_pool"],
            )
            head: dict[str, Any] = {"from": name}
            if self.some(0.4):
                head |= {"training_only": True, "loss_weight": 0.3}
            if layers:
                head["layers"] = layers
            self.add([], outputs={f"head_{name}": head})
        used = text({key: value for key, value in self.spec.items() if key != "params"})
        self.spec["params"] = {name: value for name, value in self.spec["params"].items() if f"${name}" in used}
        if not self.spec["params"]:
            del self.spec["params"]

    # ---- single layers

    def conv(self, filters: Any = None, stride: Any = None, channels: int | None = None) -> Layer:
        """A convolution of some kind; with `stride`, one that gives ⌈n / stride⌉ pixels."""
        channels = channels or self.channels
        layer: dict[str, Any]
        kernel = self.pick(1, 2, 3, 3, 4, 5, [1, 3], [3, 2], [5, 1])
        kind = (
            self.pick("conv", "conv", "conv", "depthwise_conv", "separable_conv")
            if filters is None
            else self.pick("conv", "conv", "separable_conv")
        )
        if kind == "depthwise_conv":
            layer = {kind: kernel, "depth_multiplier": self.pick(1, 1, 2, 3)}
        else:
            layer = {kind: filters or self.pick(2, 3, 4, 6, 8, 12), "kernel": kernel}
            if kind == "separable_conv" and self.some(0.3):
                layer["depth_multiplier"] = 2
        if kind == "conv" and isinstance(layer["conv"], int) and self.some(0.3):
            layer["groups"] = self.pick(*[g for g in range(1, 7) if channels % g == layer["conv"] % g == 0])
        if stride is not None:
            layer |= {"padding": "same"} | ({} if stride == 1 else {"stride": stride})
            if stride == 1 and self.some(0.2):
                layer["dilation"] = self.pick(2, [1, 2])
        else:
            padding = self.pick(
                None, None, "same", "same", "valid", 0, 1, 2, [1, 0], [0, 1], [0, 1, 2, 0], [1, 2, 0, 3]
            )
            layer |= {} if padding is None else {"padding": padding}
            if self.some(0.35):
                layer["stride"] = self.pick(2, 2, 3, [1, 2], [2, 1])
            elif self.some(0.25):
                layer["dilation"] = self.pick(2, 3, [1, 2], [2, 3])
        return self.dressed(layer)

    def dressed(self, layer: dict[str, Any]) -> Layer:
        """With a bias, a norm, an activation, or without."""
        if self.some(0.25):
            layer["bias"] = self.pick(True, False)
        if self.some(0.3):
            layer["norm"] = self.pick(
                "batch_norm", "batch_norm", {"batch_norm": {"epsilon": 0.001, "scale": False}}, "layer_norm", "none"
            )
        if self.some(0.5):
            layer["activation"] = self.activation()
        return layer

    def activation(self) -> Any:
        kind = self.pick("relu", "relu", *ACTIVATIONS)
        if self.some(0.5):
            kind = {
                "leaky_relu": {kind: self.pick(0.2, 0.05)},
                "elu": {kind: 0.5},
                "gelu": {kind: {"approximate": True}},
            }.get(kind, kind)
        return kind

    def pool(self, stride: int | None = None) -> Layer:
        kind = self.pick("max_pool", "avg_pool")
        size = self.pick(2, 3, 3, 4, [2, 3], [3, 1])
        layer: dict[str, Any] = {kind: size}
        if stride is not None:
            layer |= {"stride": stride, "padding": "same"}
        else:
            if self.some(0.7):
                layer["stride"] = self.pick(1, 2, 2, 3, [1, 2], [3, 2])
            padding = self.pick(None, None, "same", "half", 1, [1, 0], [0, 1, 1, 0], [1, 0, 0, 2])
            layer |= {} if padding is None else {"padding": padding}
            if self.some(0.4):
                layer["ceil_mode"] = True
        if kind == "avg_pool" and self.some(0.5):
            layer["divisor"] = "padded"
        return layer

    def transposed(self) -> Layer:
        layer: dict[str, Any] = {"transposed_conv": self.pick(2, 4, 6), "kernel": self.pick(1, 2, 3, 4, [2, 3], [3, 5])}
        if self.some(0.6):
            layer["stride"] = self.pick(2, 2, 3, [1, 2])
            if self.some(0.3):
                layer["output_padding"] = self.pick(1, [0, 1], [1, 0])
        elif self.some(0.3):
            layer["dilation"] = self.pick(2, [2, 1])
        padding = self.pick(None, None, "same", "same", "half", 1, [1, 0], [0, 1, 1, 0], [1, 0, 0, 1])
        layer |= {} if padding is None else {"padding": padding}
        if self.some(0.25):
            layer["groups"] = 2
        return self.dressed(layer)

    def other(self) -> Layer:
        """What has no weights, or a norm."""
        divisors = [n for n in range(1, 7) if self.channels % n == 0]
        return self.pick(
            "batch_norm", {"batch_norm": {"epsilon": 0.001, "momentum": 0.99, "shift": False}}, "layer_norm",
            {"layer_norm": {"scale": False}}, {"lrn": {"size": 3, "alpha": 0.1}}, {"lrn": 5}, {"lrn": {"size": 3, "k": 1.0, "beta": 0.5, "alpha": 0.02}},
            {"dropout": 0.5}, {"spatial_dropout": 0.3}, {"zero_pad": self.pick(1, [1, 2], [0, 1, 2, 0])},
            {"crop": self.pick(1, [1, 0], [0, 1, 1, 0])}, {"upsample": self.pick(2, [1, 2], [2, 1])},
            {"upsample": self.pick(2, [1, 3]), "mode": "bilinear"}, {"channel_shuffle": self.random.choice(divisors)},
            {"scale": self.pick(0.17, -1.5)}, self.activation(), {"batch_norm": None, "activation": self.activation()},
            {"adaptive_avg_pool": self.pick(1, 2, 3, [1, 2])}, {"adaptive_max_pool": self.pick(1, 2, [3, 1])},
            {"global_avg_pool": {"keep_dims": True}}, {"global_max_pool": {"keep_dims": True}},
        )  # fmt: skip

    def layer(self) -> Layer:
        """Any single layer that reads what there is."""
        if not isinstance(self.shape, Maps):
            return self.pick(
                self.dressed({"dense": self.pick(3, 5, "$classes")}), self.activation(), "batch_norm", "layer_norm",
                {"dropout": 0.4}, {"scale": 0.5}, "flatten",
            )  # fmt: skip
        if self.channels and self.some(0.05):
            return self.pick("flatten", "global_avg_pool", "global_max_pool")
        return self.random.choice(
            [self.conv, self.conv, self.pool, self.transposed, self.other, self.other, self.other]
        )()

    def name(self, prefix: str) -> str:
        self.count = getattr(self, "count", 0) + 1
        return f"{prefix}{self.count}"

    def plain(self) -> list[Layer]:
        layer = self.layer()
        layer = {layer: None} if isinstance(layer, str) else dict(layer)
        if self.some(0.3):
            name = self.name("named")
            layer["name"] = name
            self.named.append(name)
        elif self.some(0.2):
            layer["repeat"] = self.pick(0, 2, 2, 3, 3)
            if self.some(0.5) and "stride" in layer and "output_padding" not in layer:
                layer["first"] = {"stride": layer.pop("stride")}
        elif self.some(0.15):
            layer["if"] = self.pick("$deep", "not $deep", "$width > 4")
        return [next(iter(layer)) if list(layer.values()) == [None] else layer]

    # ---- structures

    def path(
        self, stride: int, filters: Any, channels: int | None = None, last: dict[str, Any] | None = None
    ) -> list[Layer]:
        """One to three layers that give ⌈n / stride⌉ pixels and, if that is given, `filters` channels."""
        layers: list[Layer] = []
        if self.some(0.4):
            layers.append(
                self.pick(
                    "relu", "batch_norm", {"dropout": 0.2}, self.pool(1), {"batch_norm": None, "activation": "relu"}
                )
            )
        if filters is None and self.some(0.3):
            return [*layers, self.pool(stride)]
        if self.some(0.4):
            layers.append(self.conv(filters=self.pick(2, 4, 6), stride=1, channels=channels))
        end = self.conv(filters=filters or self.pick(2, 3, 5), stride=stride, channels=1 if layers else channels)
        return [*layers, end | (last or {})]

    def branches(self) -> Any:
        merge = self.pick("concat", "concat", "add", "multiply")
        if not isinstance(self.shape, Maps):
            units = self.pick(3, 4)
            return [{merge: {"a": [{"dense": units}], "b": [{"dense": units, "activation": "sigmoid"}]}}]
        stride = self.pick(1, 1, 2)
        filters = None if merge == "concat" else self.pick(2, 4, 6)
        names = ["a", "b", "c", "d"][: self.random.randint(2, 4)]
        made = {name: self.path(stride, filters) for name in names}
        if merge == "concat" and stride == 1 and self.some(0.4):
            made["rest"] = []
        layer: Layer = {merge: made}
        if self.some(0.4):
            layer["activation"] = self.activation()
        if self.some(0.2):
            layer["name"] = self.name("merged")
        return [layer]

    def residual(self) -> Any:
        layer: Layer = {"residual": self.residue(self.pick(1, 1, 2), self.pick(self.channels, 4, 6))}
        if self.some(0.2):
            layer["name"] = self.name("named")
            self.named.append(layer["name"])
        return [layer]

    def residue(self, stride: Any, filters: Any) -> dict[str, Any]:
        body = self.path(1 if isinstance(stride, str) else stride, filters)
        if isinstance(stride, str):
            body[-1]["stride"] = stride
        residual: dict[str, Any] = {"body": body}
        shortcut = self.pick(None, None, "auto", "identity", "projection", "list")
        if shortcut == "list":
            shortcut = (
                [self.conv(filters=filters, stride=stride)]
                if not isinstance(stride, str)
                else [{"conv": filters, "kernel": 1, "stride": stride}]
            )
        residual |= {} if shortcut is None else {"shortcut": shortcut}
        if self.some(0.5):
            residual["activation"] = self.activation()
        return residual

    def block(self) -> Any:
        """A block with arguments, used in one or two places."""
        name = self.name("block")
        stride = self.pick("$stride", 1)
        args: dict[str, Any] = {"filters": "required"} | ({"stride": 1} if stride == "$stride" else {})
        kind = self.pick("residual", "layers", "layers", "concat", "wired", "nested", "grown")
        inner = "$inner" if self.some(0.4) else "$filters"
        body: dict[str, Any] = {"args": args}
        blocks: dict[str, Any] = {name: body}
        if inner == "$inner":
            body["let"] = {"inner": self.pick("max($filters // 2, 1)", "$filters + 1", "min($filters, $in_channels)")}
        first = {"conv": inner, "kernel": self.pick(1, 3), "activation": "relu"}
        last: dict[str, Any] = (
            {"conv": "$filters", "kernel": 3}
            | ({"stride": "$stride"} if stride == "$stride" else {})
            | self.pick({}, {"padding": "same"})
        )
        if kind == "residual":
            body["residual"] = self.residue(stride, "$filters")
        elif kind == "concat":
            body["concat"] = {
                "a": [first, last],
                "b": [{"max_pool": 3, "stride": stride, "padding": self.pick("same", 1)}],
            }
        elif kind == "wired":
            body["layers"] = [
                first | {"name": "left"},
                first | {"from": "input", "name": "right"},
                {self.pick("add", "concat"): ["left", "right"]},
                last,
            ]
        elif kind == "nested":
            other = self.name("block")
            blocks[other] = {
                "args": ["width"],
                "residual": {
                    "body": [{"conv": "$width", "kernel": 3}, {"conv": "$width", "kernel": 1}],
                    "activation": self.activation(),
                },
            }
            body["layers"] = [
                first,
                {other: inner},
                {other: {"width": "$filters"}, "if": self.pick("$filters > 3", "$in_channels == $filters")},
                last,
            ]
        elif kind == "grown":
            body["layers"] = [
                self.pick("batch_norm", "relu"),
                first | {"repeat": self.pick(1, 2)},
                {"conv": "$filters", "kernel": 3, "name": "new"},
                {"concat": ["input", "new"]},
            ]
            args.pop("stride", None)
        else:
            between = [self.pick(self.other, self.transposed, self.pool)() for _ in range(self.random.randint(0, 2))]
            body["layers"] = [first, {"batch_norm": None, "if": self.pick("$filters > 4", "$deep")}, *between, last]
        given: dict[str, Any] = {"filters": self.pick(4, 5, 6)}
        if "stride" in args and self.some(0.5):
            given["stride"] = 2
        use: Layer = {name: self.pick(given, given["filters"]) if len(given) == 1 else given}
        if self.some(0.4):
            use["repeat"] = self.pick(2, 3, "3 if $deep else 2")
            if "stride" in given:
                use["first"] = {"stride": use[name].pop("stride")}
        elif self.some(0.3):
            use["name"] = self.name("use")
            self.named.append(use["name"])
        more = [{name: {"filters": self.pick(3, 8)}}] if self.some(0.4) else []
        return [use, *more], {"blocks": blocks}

    def stage(self) -> Any:
        name = self.name("stage")
        each = {"n": [self.random.randint(1, 2) for _ in range(2)], "filters": [4, self.pick(4, 6, 7)]}
        layer = {"conv": "$filters", "kernel": 3, "padding": "same", "repeat": "$n"} | self.pick(
            {}, {"first": {"stride": 2}}, {"activation": self.activation()}
        )
        do = [
            layer,
            self.pick(
                {"max_pool": 2, "padding": "same"},
                "batch_norm",
                {"batch_norm": None, "if": "$i == 1"},
                {"dropout": 0.1},
            ),
        ]
        if self.some(0.3):
            do.append("relu")
        return [{"stage": f"{name}_$i", "each": each, "do": do}]

    def table(self) -> Any:
        name = self.name("row")
        body = {
            "args": ["a", "b", "c"],
            "concat": {
                "one": [{"conv": "$a", "kernel": 1}],
                "two": [
                    {"conv": "$b", "kernel": 1, "activation": "relu"},
                    {"conv": "$c", "kernel": self.pick(3, 5, [1, 3])},
                ],
                "pool": [{self.pick("max_pool", "avg_pool"): 3, "stride": 1, "padding": 1}],
            },
        }
        rows = {f"r{n}": [self.random.randint(1, 5) for _ in range(3)] for n in range(self.random.randint(1, 3))}
        return [{"table": name, "rows": rows}], {"blocks": {name: body}}

    def gate(self) -> Any:
        """A squeeze and excitation, by convolutions or by dense layers."""
        name = self.name("gate")
        squeezed = {"conv": "max($in_channels // $reduction, 1)", "kernel": 1, "activation": self.pick("relu", "silu")}
        weights = [
            {self.pick("global_avg_pool", "global_max_pool"): {"keep_dims": True}},
            squeezed,
            {"conv": "$in_channels", "kernel": 1, "activation": self.pick("sigmoid", "hard_sigmoid")},
        ]
        spatial = [{"conv": 1, "kernel": 3, "padding": "same", "activation": "sigmoid"}]
        body = {
            "args": {"reduction": 2},
            "multiply": {"maps": [], "weights": weights} | ({"where": spatial} if self.some(0.3) else {}),
        }
        return [{name: {"reduction": self.pick(1, 2, 3)}}], {"blocks": {name: body}}

    def wiring(self) -> Any:
        """Two readers of one layer, or one from before."""
        a, b = self.name("left"), self.name("right")
        merge = self.pick("add", "concat", "multiply")
        activation = {"activation": self.activation()} if self.some(0.3) else {}
        if not isinstance(self.shape, Maps):
            return [{"dense": 4, "name": a}, {"dense": 4, "from": a, "name": b}, {merge: [a, b], **activation}]
        if self.named and self.some(0.4):
            return [{merge: ["previous", self.random.choice(self.named)], **activation}]
        channels = self.pick(3, 4)
        split = self.conv(filters=channels, stride=self.pick(1, 2)) | {"name": a}
        return [
            split,
            self.conv(filters=channels, stride=1, channels=channels) | {"name": b},
            {merge: [a, "previous"], **activation},
        ]


# ---- smaller specs with the same fault


def shrunk(spec: Spec, faulty: Callable[[Spec], bool]) -> Spec:
    """The spec without whatever can go, so that it is still `faulty`. Specs that do not compile are not asked."""
    while True:
        for smaller in _smaller(spec):
            try:
                loaded(smaller)
            except SpecError:
                continue
            if faulty(smaller):
                spec = smaller
                break
        else:
            return spec


def _smaller(spec: Spec) -> Iterator[Spec]:
    """Every spec with one entry less, the larger losses first; and with smaller maps."""
    places = sorted(_places(spec), key=lambda place: -len(str(_at(spec, place))))
    for *place, last in places:
        other = copy.deepcopy(spec)
        del _at(other, place)[last]
        yield other
    size = spec["input"]["size"]
    for axis in (0, 1):
        if size[axis] > 1:
            other = copy.deepcopy(spec)
            other["input"]["size"][axis] -= 1
            yield other


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        if (*place, key) not in {("cnnspec",), ("name",), ("input",), ("layers",)}:
            yield (*place, key)
        yield from _places(value[key], (*place, key))


def _at(value: Any, place: Any) -> Any:
    for key in place:
        value = value[key]
    return value


# ---- what may be wrong


def faults(spec: Spec, backends: list[str] | None = None, *, single: bool = True) -> list[str]:
    """What the program that is made of a spec has otherwise than its graph, and what backends compute otherwise.

    Without `single`, ONNX Runtime alone computes in float32, as nothing else of ONNX is used, and the rest in float64.
    """
    graph = loaded(spec).graph
    if found := differences(fold(graph), graph):
        return [f"folding: {difference}" for difference in found]
    results = [verify(graph, only=backends, precisions=("float64", "float32") if single else ("float64",))]
    if not single and "onnx" in (backends or ["onnx"]):
        results.append(verify(graph, only=["onnx"], precisions=("float32",)))
    return [f"{d.path}: {d.message}" for result in results for d in result.diagnostics()]
