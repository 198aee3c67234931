"""A network with every kind of parameter, small enough to count by hand."""

SMALL = """\
cnnspec: 1
name: small
input: {channels: 4, size: 8}
params: {classes: 3}
layers:
  - {conv: 6, kernel: [3, 5], groups: 2, norm: batch_norm, activation: prelu, name: stem}
  - {depthwise_conv: 3, depth_multiplier: 2, bias: false, norm: layer_norm, name: spread}
  - {transposed_conv: 8, kernel: 4, stride: 2, padding: 1, groups: 2, name: grow}
  - global_avg_pool
  - {dense: $classes, name: fc}
"""
HEADS = (
    SMALL
    + """\
outputs:
  aux: {from: spread, training_only: true, layers: [global_avg_pool, {dense: $classes, name: fc}]}
"""
)
