"""The recipe itself: what is trained for, how a step is made, how training is watched and kept."""

from typing import Annotated, Literal

from pydantic import Field, PrivateAttr

from cnnspec.diagnostics import Span
from cnnspec.ops.fields import Count, Fraction, Positive
from cnnspec.source import Node
from cnnspec.spec.recipe.augment import Augmentation
from cnnspec.spec.recipe.data import Data, HeldOutImages, Sample
from cnnspec.spec.recipe.fields import ClassWeights, Kept, NonNegative, Seed, Share
from cnnspec.spec.recipe.initializer import Initializers
from cnnspec.spec.recipe.optimizer import Optimizer
from cnnspec.spec.recipe.schedule import Constant, Schedule
from cnnspec.spec.tagged import OneOf, Section, Strict, Tagged, place


class CrossEntropy(Tagged):
    """Cross-entropy of the softmax of the network's outputs, the mean over the samples of a step.

    `label_smoothing` ε makes the class's target 1 − ε + ε/K and every other one ε/K, for K classes.
    `class_weights` multiplies a sample's loss by the weight of its class; the sum is still divided by the
    number of samples. `balanced` takes n / (K·n_c), for n_c training images of class c out of n. Mixed
    samples have the mixed weight.

    Outputs that are used in training only add their own cross-entropy, times their `loss_weight` in the spec.
    Other further outputs have no loss, and layers that lead to them alone stay as they are.
    """

    kind = "cross_entropy"

    label_smoothing: Fraction = 0.0
    class_weights: ClassWeights | None = None


Loss = Annotated[CrossEntropy, OneOf()]


class _Metric(Tagged):
    @property
    def name(self) -> str:
        """What a monitor calls it."""
        return self.kind

    @property
    def is_number(self) -> bool:
        """Whether it can be monitored: one number, which is better when higher."""
        return True


class Accuracy(_Metric):
    """The share of images whose class is right."""

    kind = "accuracy"


class TopK(_Metric):
    """The share of images whose class is among the `k` likeliest. `top_k: 5` is called `top_5`."""

    kind = "top_k"
    main = "k"

    k: Count

    @property
    def name(self) -> str:
        return f"top_{self.k}"


class PerClass(_Metric):
    """Precision, recall and number of images of every class: a table at the end, not to be monitored.

    A class that has no images has no recall, and one that none was taken for no precision: these are left empty.
    """

    kind = "per_class"

    @property
    def is_number(self) -> bool:
        return False


class ConfusionMatrix(_Metric):
    """How many images of each class (rows) were taken for which (columns): not to be monitored either."""

    kind = "confusion_matrix"

    @property
    def is_number(self) -> bool:
        return False


Metric = Annotated[Accuracy | TopK | PerClass | ConfusionMatrix, OneOf()]


def _accuracy() -> list[Metric]:
    return [Accuracy()]


class GlobalNorm(Tagged):
    """Multiplies all gradients by min(1, `maximum` / (n + 1e-6)), for the norm n of all of them together."""

    kind = "global_norm"
    main = "maximum"

    maximum: Positive


class ParameterNorm(Tagged):
    """Multiplies each parameter's gradient by min(1, `maximum` / (n + 1e-6)), for its own norm n."""

    kind = "parameter_norm"
    main = "maximum"

    maximum: Positive


class Value(Tagged):
    """Cuts every number of the gradients to between −`maximum` and `maximum`."""

    kind = "value"
    main = "maximum"

    maximum: Positive


Clip = Annotated[GlobalNorm | ParameterNorm | Value, OneOf()]


class Ema(Section):
    """Running averages of the weights, which are evaluated and kept in place of them.

    After every step, average ← `decay`·average + (1 − `decay`)·weight; after the first, it is the weight
    itself. Running statistics of norms are not averaged but taken as they are.
    """

    main = "decay"

    decay: Share


class EarlyStop(Section):
    """Ends training when `monitor` has not improved for `patience` epochs in a row.

    It improves where it is better than its best so far by more than `min_delta`. `restore_best` ends with the
    weights of the best epoch, not of the last.
    """

    main = "patience"

    monitor: str = "validation_loss"
    patience: Count = 10
    min_delta: NonNegative = 0.0
    restore_best: bool = True


class Checkpoints(Section):
    """What is kept on disk: the state of training after every `every` epochs, and after the last.

    `steps` has it kept after so many steps as well, counted from the start of training; with Keras not just
    before an epoch's last step. `keep` is how many of these stay, the newest ones, or `all`; with one alone, a
    damaged file is the end. `best` names a monitor: the weights of its best epoch are kept as well.
    """

    main = "every"

    every: Count = 1
    steps: Count | None = None
    keep: Kept = 2
    best: str | None = None


class Recipe(Strict):
    """All there is to training. Only `optimizer`, `epochs` and `batch_size` must be written.

    One step takes `gradient_accumulation` batches of `batch_size` images, over all devices together, and
    updates the weights once, with the gradient of the mean loss over all these images. An epoch shows every
    training image once, in a new order; its last step takes what is left.

    `precision`: `float32`; or `mixed_bfloat16`, `mixed_float16`, where convolutions and dense layers compute
    in 16 bits and weights, norms, softmax and loss stay in 32. `mixed_float16` scales the loss so that small
    gradients survive, and skips a step whose gradients are not finite.

    `clip` limits gradients after accumulation, before the optimiser and its decay.

    A `monitor` is `loss` or the name of a metric, of the training images, or with `validation_` in front of
    the ones held out: `validation_loss`, `validation_accuracy`, `validation_top_5`. A loss is better when
    lower, a metric when higher. Figures of training images are means over an epoch, of each as it was trained
    on; the others are computed at the end of the epoch, with the network as in inference, their loss being
    the loss of the main output, smoothed and weighted in the same way.

    `seed` decides all that is drawn: first weights, order, augmentation, dropout. One framework repeats its
    own run; across frameworks only the first weights are the same.
    """

    name: str = ""
    cite: str = ""
    description: str = ""
    data: Data = Field(default_factory=Sample)
    split: HeldOutImages | None = None
    augment: list[Augmentation] = Field(default=[])
    initializers: Initializers = Field(default_factory=Initializers)
    optimizer: Optimizer
    schedule: Schedule = Field(default_factory=Constant)
    loss: Loss = Field(default_factory=CrossEntropy)
    metrics: list[Metric] = Field(default_factory=_accuracy)
    epochs: Count
    batch_size: Count
    gradient_accumulation: Count = 1
    clip: Clip | None = None
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    ema: Ema | None = None
    early_stop: EarlyStop | None = None
    checkpoints: Checkpoints = Field(default_factory=Checkpoints)
    seed: Seed = 0

    _node: Node | None = PrivateAttr(default=None)

    @property
    def validates(self) -> bool:
        """Whether images are held out to validate on, or come with the data."""
        return self.split is not None or self.data.validates

    @property
    def best_files(self) -> dict[str, str]:
        """The monitors whose best epochs' weights are kept, by the name of the file.

        Every improvement counts here, however small: `min_delta` says when to stop, not which epoch was the best.
        """
        early, kept = self.early_stop, self.checkpoints.best
        files = {"best": kept} if kept else {}
        if early and early.restore_best:
            files["best" if kept in (None, early.monitor) else "early_stop"] = early.monitor
        return files

    @property
    def restored_file(self) -> str:
        """The one of `best_files` that training ends with; none if it ends with its last weights."""
        early = self.early_stop
        if early is None or not early.restore_best:
            return ""
        return next(name for name, monitor in self.best_files.items() if monitor == early.monitor)

    def span(self, *path: str | int, key: bool = False) -> Span:
        """Where an option is written, or as much of the way to it as is written; with `key`, its key."""
        assert self._node is not None, "only a recipe that was read from text has places"
        return place(self._node, path, key=key)
