"""The table: the definition of every canonical kind.

A definition takes its inputs, then the layer's parameters if it has any, and the canonical attributes by keyword, all
of them: an attribute that a definition does not know cannot pass unnoticed.
"""

from collections.abc import Callable, Mapping, Sequence

from cnnspec.backends.reference import activation, layout, norm, pool, weighted
from cnnspec.backends.reference.arrays import Array, Params
from cnnspec.ops import Canonical

Definition = Callable[..., Array]

TABLE: Mapping[str, Definition] = {
    definition.__name__: definition
    for definition in (
        weighted.conv,
        weighted.depthwise_conv,
        weighted.transposed_conv,
        weighted.dense,
        pool.max_pool,
        pool.avg_pool,
        pool.global_avg_pool,
        pool.global_max_pool,
        norm.batch_norm,
        norm.layer_norm,
        norm.lrn,
        norm.dropout,
        norm.spatial_dropout,
        activation.relu,
        activation.relu6,
        activation.leaky_relu,
        activation.prelu,
        activation.elu,
        activation.selu,
        activation.gelu,
        activation.silu,
        activation.mish,
        activation.hard_sigmoid,
        activation.hard_swish,
        activation.hard_tanh,
        activation.sigmoid,
        activation.tanh,
        activation.softmax,
        layout.flatten,
        layout.zero_pad,
        layout.crop,
        layout.upsample,
        layout.channel_shuffle,
        layout.scale,
        layout.add,
        layout.multiply,
        layout.concat,
    )
}
"""Definitions by canonical kind; each is called what the kind is called."""


def apply(canonical: Canonical, inputs: Sequence[Array], params: Params) -> Array:
    """The output of one layer."""
    definition = TABLE[canonical.kind]
    return definition(*inputs, params, **canonical.attrs) if params else definition(*inputs, **canonical.attrs)
