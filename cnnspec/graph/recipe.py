"""Whether a recipe fits its network: classes, batch norms, the layers that it names."""

from __future__ import annotations

from cnnspec.diagnostics import Report, did_you_mean
from cnnspec.graph.model import Graph, Node
from cnnspec.graph.patterns import Paths, TooMany
from cnnspec.ops import Maps, Vector
from cnnspec.spec.locate import zoo_folder
from cnnspec.spec.recipe import Recipe
from cnnspec.spec.recipe.model import TopK
from cnnspec.spec.recipe.read import told


def check_recipe(recipe: Recipe, graph: Graph, report: Report, *, whole: bool = True) -> bool:
    """Report where `recipe` and `graph` contradict each other, at the recipe's text.

    A graph that is not `whole` is that of a transfer case, and may lack layers that the recipe names. False where the
    recipe is inherited, and left out with a warning.
    """
    own = Report()
    output = graph.outputs[0].node.shape
    if isinstance(output, Vector):
        _check_classes(recipe, output.channels, own)
    _check_loss(recipe, graph, own)
    _check_batch(recipe, graph, own)
    if whole:
        _check_paths(recipe, graph, own)
    return told(own, graph.spec, report)


def usual_recipe(graph: Graph) -> str:
    """The name of the recipe to train with where none is asked for; empty for that of the spec.

    A network of the zoo has the one that it was trained with from nothing. That is no use under a transfer case, which
    starts from weights: it forgets them.
    """
    train = graph.spec.root.get("train")
    path = train.span.source.path if train else None
    inherited = path is not None and path.is_relative_to(zoo_folder())
    return "fine_tune" if graph.transfer and inherited else ""


def _check_paths(recipe: Recipe, graph: Graph, report: Report) -> None:
    """Patterns that no layer has."""
    paths, known = Paths(graph.nodes), _paths(graph)
    for pattern in recipe.initializers.layers:
        span = recipe.span("initializers", "layers", pattern, key=True)
        try:
            if not paths.matching(pattern):
                message = f"no layer matches `{pattern[:60]}`"
                report.add("unmatched-path", message, span, help=did_you_mean(pattern, known))
        except TooMany as error:
            report.add("too-large", str(error), span)
            return


def _paths(graph: Graph) -> set[str]:
    """The paths of layers with parameters, and of what contains them."""
    steps = [node.path.split(".") for node in graph.nodes if node.params]
    return {".".join(path[:end]) for path in steps for end in range(1, len(path) + 1)}


def _check_classes(recipe: Recipe, classes: int, report: Report) -> None:
    """What counts classes must count as many as the network's main output."""
    network = f"the network has {classes} output{'s' * (classes != 1)}"
    given: int | None = getattr(recipe.data, "classes", None)
    if given is not None and given != classes:
        message = f"`{recipe.data.kind}` has {given} classes, {network}"
        report.add("recipe-conflict", message, recipe.span("data", recipe.data.kind, key=True))
    weights = recipe.loss.class_weights
    if isinstance(weights, list) and len(weights) != classes:
        message = f"{len(weights)} class weights, but {network}"
        report.add("recipe-conflict", message, recipe.span("loss", "class_weights"))
    for i, metric in enumerate(recipe.metrics):
        if isinstance(metric, TopK) and metric.k > classes:
            report.add(
                "recipe-conflict",
                f"`{metric.name}` needs more classes, {network}",
                recipe.span("metrics", i, "top_k", "k"),
            )


def _check_loss(recipe: Recipe, graph: Graph, report: Report) -> None:
    """The loss has a softmax of its own, and takes what is no probability yet."""
    main = graph.outputs[0]
    for output in graph.outputs:
        kind = output.node.probabilities
        if kind and (output is main or output.training_only):
            which = "" if output is main else f"`{output.name}` of "
            report.add(
                "recipe-conflict",
                f"`{recipe.loss.kind}` puts a softmax behind {which}the network, which ends in a {kind} already",
                recipe.span("loss"),
                help=f"end it in one value for each class, without the {kind}: `export --probabilities` adds a softmax",
                path=output.node.path,
            )


def _check_batch(recipe: Recipe, graph: Graph, report: Report) -> None:
    """A batch norm needs more than one value per channel."""
    few = few_values(graph)
    if recipe.batch_size == 1 and few:
        report.add(
            "recipe-conflict",
            "a batch of 1 leaves this network's batch norm one value per channel to norm over",
            recipe.span("batch_size"),
            help="train on larger batches",
            path=few[0].path,
        )


def few_values(graph: Graph) -> list[Node]:
    """Batch norms that find one value per channel in an image, and so need several images at a time.

    One that never trains norms as in inference.
    """
    first = graph.first_epochs()
    return [
        node
        for node in graph.nodes
        if node.op.kind == "batch_norm"
        and (not isinstance(node.shape, Maps) or node.shape.height == node.shape.width == 1)
        and node.path in first
    ]
