"""Live models from printed source: weights in, outputs and gradients out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cnnspec.backends.torch.modules import attribute
from cnnspec.graph import Graph, Instance, Node
from cnnspec.lower.backend import Precision, Weights
from cnnspec.lower.execute import lasting_module
from cnnspec.lower.fold import fold
from cnnspec.lower.python import camel, identifier

if TYPE_CHECKING:
    import torch

    from cnnspec.lower.program import Program


def key(path: str) -> str:
    """The key in a state dict for a path: the path, but for names that Python or PyTorch has."""
    return ".".join(part if part.isdigit() else attribute(part) for part in path.split("."))


def execute(program: Program, text: str) -> Any:
    """The network's class, from the text that was printed; a traceback in it shows its lines."""
    module = lasting_module(text, f"cnnspec {program.name} torch")
    return getattr(module, identifier(camel(program.network.name), ()))


def build(program: Program, text: str, weights: Weights | None, dtype: torch.dtype | None = None) -> torch.nn.Module:
    """The model, with weights if there are any, else as PyTorch starts it. It is in training mode, as PyTorch's are.

    Weights become `dtype`, PyTorch's default unless it is given.
    """
    import torch

    network = execute(program, text)
    if weights is None:
        return network()
    with torch.device("meta"):  # without values that would be overwritten
        model: torch.nn.Module = network()
    load(model, weights, dtype or torch.get_default_dtype())
    return model


def load(model: torch.nn.Module, weights: Weights, dtype: torch.dtype) -> None:
    """Give a model canonical weights. Raises `ValueError` where they are not exactly what it has."""
    import torch

    state = {key(name): torch.tensor(array, dtype=dtype) for name, array in weights.items()}
    for name, buffer in model.named_buffers():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=buffer.dtype)
    try:
        model.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    for parameter in model.parameters():
        parameter.requires_grad_(True)


class TorchRunner:
    """A model that shows what its modules give."""

    def __init__(self, graph: Graph, weights: Weights, precision: Precision) -> None:
        import torch

        from cnnspec.backends.torch import BACKEND

        self.graph, self.whole = graph.inference(), graph  # without and with heads that exist in training only
        program = fold(graph)
        wanted = {f"{node.path}.{name}" for node in graph.nodes for name in node.params}
        self.type = getattr(torch, precision)
        own = {name: weights[name] for name in wanted}
        self.model: Any = build(program, BACKEND.source(program), own, self.type).eval()

    def outputs(self, images: Any) -> dict[str, Any]:
        """Outputs by layer path: those of all modules, and what goes into them."""
        import torch

        found: dict[str, Any] = {}
        hooks = []

        shapes = {node.path: tuple(node.shape) for node in self.graph.nodes}

        def keep(path: str, value: Any, *, read: bool = False) -> None:
            # what is read may be padded on its way: by this use of a text, or by another for which all of them do
            if isinstance(value, torch.Tensor) and not (read and tuple(value.shape[1:]) != shapes.get(path)):
                found.setdefault(path, value.detach().clone().numpy())  # what comes next may write over it

        for path, made, source in _seen(self.graph, self.model):
            module = self.model.get_submodule(key(path))
            if source:
                hooks.append(
                    module.register_forward_pre_hook(lambda _, args, source=source: keep(source, args[0], read=True))
                )
            if made:
                hooks.append(module.register_forward_hook(lambda _, args, value, made=made: keep(made, value)))
        with torch.no_grad():
            results = self.model(torch.tensor(images).to(self.type))
        for hook in hooks:
            hook.remove()
        results = results if isinstance(results, tuple) else (results,)
        for output, value in zip(self.graph.outputs, results, strict=True):
            found[output.node.path] = value.numpy()
        return {node.path: found[node.path] for node in self.graph.nodes if node.path in found}

    def gradients(self, images: Any, cotangents: Mapping[str, Any]) -> dict[str, Any]:
        """The gradient of Σ output·cotangent by every parameter that trains, in training mode without dropout."""
        import torch

        for module in self.model.train().modules():
            if isinstance(module, torch.nn.modules.dropout._DropoutNd):
                module.eval()
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = 0.0
        results = self.model(torch.tensor(images).to(self.type))
        results = results if isinstance(results, tuple) else (results,)
        total = sum(
            (result * torch.tensor(cotangents[output.node.path]).to(self.type)).sum()
            for output, result in zip(self.whole.outputs, results, strict=True)
        )
        self.model.zero_grad()
        total.backward()
        self.model.eval()
        return {
            f"{node.path}.{name}": self.model.get_parameter(key(f"{node.path}.{name}")).grad.numpy()
            for node in self.whole.nodes
            for name, param in node.params.items()
            if param.trainable
        }


def _seen(graph: Graph, model: Any) -> Iterator[tuple[str, str, str]]:
    """The modules that say what a layer gives: their path, the layer's path, and that of the layer that they read."""
    from torch import nn

    modules = dict(model.named_modules())
    nodes = {node.path: node for node in graph.nodes}

    def native(module: Any) -> bool:
        return type(module).__module__.startswith("torch.nn") and not isinstance(module, nn.Sequential | nn.ModuleDict)

    for node in graph.nodes:
        module = modules.get(key(node.path))
        if module is not None and native(module):
            padded = _pads(node)  # what goes in is no layer's output then
            yield node.path, "" if _crops(node) else node.path, "" if padded else node.inputs[0].path
    for instance in _instances(graph.root):
        module = modules.get(key(instance.path)) if instance.path else None
        if module is None or native(module) or isinstance(module, nn.ModuleDict) or instance.output is None:
            continue
        if instance.path in nodes or instance.kind in ("block", "stage", "repeat", "branch", "layer", "residual"):
            yield instance.path, instance.output.path, ""


def _pads(node: Node) -> bool:
    pads = node.canonical().attrs.get("pads")
    return pads is not None and (pads[0], pads[1]) != (pads[2], pads[3])


def _crops(node: Node) -> bool:
    crop = node.canonical().attrs.get("crop")
    return crop is not None and (crop[0], crop[1]) != (crop[2], crop[3])


def _instances(instance: Instance) -> Iterator[Instance]:
    for child in instance.children:
        if isinstance(child, Instance):
            yield child
            yield from _instances(child)
