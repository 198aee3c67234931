"""What is wrong in structure, the schema and cnnspec both refuse; what is right, both accept.

A case replaces or adds top-level sections of a small spec, or is one layer in it. Bad ones say with which
slug cnnspec refuses them, so that a case cannot fail for another reason than the one that it is about.
"""

from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from cnnspec.diagnostics import Diagnostic, Report
from cnnspec.source import plain, read_text

Check = Callable[[Any], list[Diagnostic]]

BASE = {
    "cnnspec": "1",
    "name": "small",
    "input": "{channels: 3, size: 32}",
    "params": "{classes: 10, width: 8, act: relu, deep: true, sizes: [8, 16]}",
    "blocks": "{unit: {args: {filters: 8, stride: 1}, conv: $filters, kernel: 3, stride: $stride}}",
    "layers": "[{conv: 8, kernel: 3, name: stem}, {conv: $classes, kernel: 1, name: head}]",
}


def spec(sections: str) -> str:
    """The small spec with sections replaced; one that is given as `~~` is left out."""
    given = dict(line.split(": ", 1) for line in sections.splitlines())
    return "".join(f"{key}: {value}\n" for key, value in (BASE | given).items() if value != "~~")


def with_layer(layer: str) -> str:
    return spec(f"layers: [{{conv: 8, kernel: 3, name: stem}}, {layer}, {{conv: 8, kernel: 1, name: head}}]")


def parsed(text: str) -> Any:
    report = Report()
    node = read_text(text, "spec.yaml", report)
    assert node is not None, text
    assert not report.diagnostics, text
    return plain(node)


BAD_SECTIONS = [
    # the head of the file
    ("cnnspec: 2", "bad-version"),
    ("cnnspec: one", "bad-version"),
    ("cnnspec: ~~", "missing-key"),
    ("name: ~~", "missing-key"),
    ("name: null", "missing-key"),
    ("name: [small]", "bad-value"),
    ("name: my network", "bad-name"),
    ("name: ../small", "bad-name"),
    ("cite: [a, b]", "bad-value"),
    ("lables: [a]", "unknown-key"),
    ("extends: [resnet50]", "bad-value"),
    ("use: {squeeze_excite: true}", "bad-value"),
    # input
    ("input: ~~", "missing-key"),
    ("input: null", "missing-key"),
    ("input: 32", "bad-value"),
    ("input: {channels: 3}", "missing-key"),
    ("input: {size: 32}", "missing-key"),
    ("input: {channels: 3, size: null}", "bad-value"),
    ("input: {channels: 3, size: [32, 32, 3]}", "bad-value"),
    ("input: {channels: 0, size: 32}", "bad-value"),
    ("input: {channels: 3.5, size: 32}", "bad-value"),
    ("input: {channels: 3, size: 32, depth: 8}", "unknown-key"),
    # parameters and named values
    ("params: [classes]", "bad-value"),
    ("params: {classes: {default: 10}}", "bad-value"),
    ("params: {classes: 10, half: $classes / 2}", "bad-value"),
    ("params: {2classes: 10, classes: 10}", "bad-name"),
    ("params: {in_channels: 3, classes: 10}", "duplicate-variable"),
    ("let: [half]", "bad-value"),
    ("let: {half: {of: $width}}", "bad-value"),
    # defaults
    ("defaults: [conv]", "bad-value"),
    ("defaults: {cnov: {bias: false}}", "unknown-op"),
    ("defaults: {residual: {activation: relu}}", "unknown-op"),
    ("defaults: {conv: null}", "bad-value"),
    ("defaults: {conv: relu}", "bad-value"),
    ("defaults: {conv: {biass: false}}", "unknown-key"),
    ("defaults: {conv: {bias: null}}", "bad-value"),
    ("defaults: {conv: {padding: smae}}", "bad-value"),
    ("defaults: {conv: {norm: batchnorm}}", "unknown-name"),
    ("defaults: {max_pool: {activation: relu}}", "unknown-key"),
    ("defaults: {relu: {slope: 0.1}}", "unknown-key"),
    # blocks
    ("blocks: [unit]", "bad-value"),
    ("blocks: {unit: null}", "bad-value"),
    ("blocks: {unit: [{conv: 8, kernel: 3}]}", "bad-value"),
    ("blocks: {conv: {layers: [relu]}}", "bad-name"),
    ("blocks: {my-unit: {layers: [relu]}}", "bad-name"),
    ("blocks: {unit: {args: {filters: 8}}}", "missing-key"),
    ("blocks: {unit: {args: 8, layers: [relu]}}", "bad-value"),
    ("blocks: {unit: {args: [[filters]], layers: [relu]}}", "bad-value"),
    ("blocks: {unit: {layers: [relu], arsg: {}}}", "unknown-key"),
    ("blocks: {unit: {layers: relu}}", "bad-value"),
    ("blocks: {unit: {conv: 8, kernel: 3, strides: 2}}", "unknown-key"),
    ("blocks: {unit: {let: [a], layers: [relu]}}", "bad-value"),
    # layers
    ("layers: ~~", "missing-key"),
    ("layers: null", "missing-key"),
    ("layers: []", "bad-value"),
    ("layers: {conv: 8, kernel: 3}", "bad-value"),
    # outputs
    ("outputs: [aux]", "bad-value"),
    ("outputs: {aux: {layers: [relu]}}", "missing-key"),
    ("outputs: {aux: {from: [stem], layers: [relu]}}", "bad-value"),
    ("outputs: {aux: {from: stem, layers: [relu], weight: 2}}", "unknown-key"),
    ("outputs: {aux: {from: stem, layers: [relu], training_only: 1}}", "bad-value"),
    ("outputs: {aux: {from: stem, layers: [relu], loss_weight: -1}}", "bad-value"),
    ("outputs: {aux: {from: stem, layers: [relu], loss_weight: [1]}}", "bad-value"),
    ("outputs: {aux: {from: stem, layers: [relu], training_only: null}}", "bad-value"),
    ("outputs: {previous: {from: stem, layers: [relu]}}", "bad-name"),
    # without blocks, every layer is an op or a structure
    ("blocks: ~~\nlayers: [{conv: 8, kernel: 3}, conv2d]", "unknown-op"),
    ("blocks: {}\nuse: []\nlayers: [{conv: 8, kernel: 3}, {unit: 8}]", "unknown-op"),
    ("blocks: ~~\nlayers: [{stage: s, do: [{conv: 8, kernel: 3}, {unit: 8}]}]", "unknown-op"),
    ("blocks: ~~\nlayers: [{residual: {body: [{conv: 3, kernel: 3}, {rleu: null}]}}]", "unknown-op"),
    ("blocks: ~~\nlayers: [{residual: {body: [{conv: 3, kernel: 3}], shortcut: [rleu]}}]", "unknown-op"),
    ("blocks: ~~\nlayers: [{concat: {a: [{unit: 8}], b: []}}]", "unknown-op"),
    ("blocks: ~~\noutputs: {aux: {from: stem, layers: [{unit: 8}]}}", "unknown-op"),
    (
        "blocks: ~~\ntransfer: {head: [head], cases: {large_similar: {replace: {head: [{unit: 8}]}}}}",
        "unknown-op",
    ),
    (
        "blocks: ~~\ntransfer: {head: [head], cases: {large_similar: {features: {from: stem, layers: [unit]}}}}",
        "unknown-op",
    ),
    # preprocessing and labels
    ("preprocess: 224", "bad-value"),
    ("preprocess: {rezise: 224}", "unknown-key"),
    ("preprocess: {interpolation: biliner}", "bad-value"),
    ("preprocess: {channel_order: grb}", "bad-value"),
    ("preprocess: {scale: 0}", "bad-value"),
    ("preprocess: {scale: null}", "bad-value"),
    ("preprocess: {scale: one}", "bad-value"),
    ("preprocess: {mean: [0.5, half, 0.5]}", "bad-value"),
    ("preprocess: {crop: [224]}", "bad-value"),
    ("labels: cat", "bad-value"),
    ("labels: [[cat], [dog]]", "bad-value"),
    # transfer
    ("transfer: [head]", "bad-value"),
    ("transfer: {cases: {}}", "missing-key"),
    ("transfer: {head: head}", "bad-value"),
    ("transfer: {head: []}", "bad-value"),
    ("transfer: {head: [head], case: {}}", "unknown-key"),
    ("transfer: {head: [head], cases: [small_similar]}", "bad-value"),
    ("transfer: {head: [head], cases: {small_similar: {frozen: [stem]}}}", "unknown-key"),
    ("transfer: {head: [head], cases: {small_similar: {freeze: stem}}}", "bad-value"),
    ("transfer: {head: [head], cases: {small_similar: {features: {from: stem}}}}", "missing-key"),
    ("transfer: {head: [head], cases: {small_similar: {learning_rate: {stem: -1}}}}", "bad-value"),
    ("transfer: {head: [head], cases: {small_similar: {replace: {head: {conv: 3}}}}}", "bad-value"),
    # training
    ("train: [adam]", "bad-value"),
    ("train: {optimizer: adam, epochs: 3}", "missing-key"),
    ("train: {optimizer: null, epochs: 3, batch_size: 8}", "missing-key"),
    ("train: {optimizer: {adma: 1e-3}, epochs: 3, batch_size: 8}", "unknown-name"),
    ("train: {optimizer: {adam: 1e-3, betta: 1}, epochs: 3, batch_size: 8}", "unknown-key"),
    ("train: {optimizer: {adam: 1e-3, sgd: 1e-3}, epochs: 3, batch_size: 8}", "two-kinds"),
    ("train: {optimizer: {adam: 1e-3}, epoch: 3, batch_size: 8}", "unknown-key"),
    ("train: {optimizer: {adam: 1e-3}, epochs: 3, batch_size: 8, split: {folds: 3}}", "missing-key"),
    ("train: {optimizer: {adam: 1e-3}, epochs: 3, batch_size: 8, split: {folds: 1, fold: 1}}", "bad-value"),
    (
        "train: {optimizer: {adam: 1e-3}, epochs: 3, batch_size: 8, split: {folds: 3, fold: 1, validation: 9}}",
        "unknown-key",
    ),
    ("train: {optimizer: {adam: 1e-3}, epochs: 3, batch_size: 8, split: {stratified: true}}", "missing-key"),
    ("train: {optimizer: {adam: 1e-3}, epochs: many, batch_size: 8}", "bad-value"),
    ("train: {optimizer: {adam: 1e-3}, epochs: 3, batch_size: 8, precision: fp16}", "bad-value"),
    ("train: {optimizer: {adam: 1e-3}, epochs: 3, batch_size: 8, augment: {flip: horizontal}}", "bad-value"),
    ("train: {recipe: [a]}", "bad-value"),
]

BAD_LAYERS = [
    # what a layer is
    ("[conv, 8]", "bad-layer"),
    ("8", "bad-layer"),
    ("null", "bad-layer"),
    ("{}", "bad-layer"),
    ("{name: a}", "bad-layer"),
    ("{cnov: 8, kernel: 3}", "unknown-op"),
    ("{conv: 8, kernel: 3, max_pool: 2}", "two-kinds"),
    ("{residual: {body: [relu]}, stage: a, do: [relu]}", "two-kinds"),
    # options
    ("{conv: 8, kernal: 3}", "unknown-key"),
    ("{conv: 8, kernel: 3, strides: 2}", "unknown-key"),
    ("{conv: eight, kernel: 3}", "bad-value"),
    ("{conv: '8', kernel: 3}", "bad-value"),
    ("{conv: 8.5, kernel: 3}", "bad-value"),
    ("{conv: 0, kernel: 3}", "bad-value"),
    ("{conv: {filters: 8}, kernel: 3}", "bad-value"),
    ("{conv: 8, kernel: 0}", "bad-value"),
    ("{conv: 8, kernel: [3]}", "bad-value"),
    ("{conv: 8, kernel: [3, 3, 3]}", "bad-value"),
    ("{conv: 8, kernel: [3, three]}", "bad-value"),
    ("{conv: 8, kernel: 3, padding: smae}", "bad-value"),
    ("{conv: 8, kernel: 3, padding: [1, 1, 1]}", "bad-value"),
    ("{conv: 8, kernel: 3, padding: -1}", "bad-value"),
    ("{conv: 8, kernel: 3, padding: null}", "bad-value"),
    ("{conv: 8, kernel: 3, bias: 1}", "bad-value"),
    ("{conv: 8, kernel: 3, bias: no}", "bad-value"),
    ("{conv: 8, kernel: 3, groups: 0}", "bad-value"),
    ("{conv: 3000000000, kernel: 3}", "bad-value"),
    ("{max_pool: 2, stride: 0}", "bad-value"),
    ("{max_pool: 2, activation: relu}", "unknown-key"),
    ("{max_pool: 2, divisor: valid}", "unknown-key"),
    ("{avg_pool: 2, divisor: full}", "bad-value"),
    ("{avg_pool: 2, ceil_mode: 1}", "bad-value"),
    ("{dropout: 1}", "bad-value"),
    ("{dropout: half}", "bad-value"),
    ("{upsample: 2, mode: linear}", "bad-value"),
    ("{relu: 6}", "bad-value"),
    ("{relu: {slope: 0.1}}", "unknown-key"),
    ("{batch_norm: 1e-3}", "bad-value"),
    ("{batch_norm: {epsilon: 0}}", "bad-value"),
    ("{batch_norm: {eps: 1e-3}}", "unknown-key"),
    ("{batch_norm: {momentum: 1}}", "bad-value"),
    # what is attached
    ("{conv: 8, kernel: 3, norm: batchnorm}", "unknown-name"),
    ("{conv: 8, kernel: 3, norm: relu}", "unknown-name"),
    ("{conv: 8, kernel: 3, norm: true}", "bad-value"),
    ("{conv: 8, kernel: 3, norm: [batch_norm]}", "bad-value"),
    ("{conv: 8, kernel: 3, norm: {}}", "bad-value"),
    ("{conv: 8, kernel: 3, norm: {epsilon: 1e-3}}", "unknown-name"),
    ("{conv: 8, kernel: 3, norm: {batch_norm: {eps: 1e-3}}}", "unknown-key"),
    ("{conv: 8, kernel: 3, norm: {batch_norm: null, activation: relu}}", "unknown-key"),
    ("{conv: 8, kernel: 3, norm: {batch_norm: {activation: relu}}}", "unknown-key"),
    ("{conv: 8, kernel: 3, activation: rulu}", "unknown-name"),
    ("{conv: 8, kernel: 3, activation: {leaky_relu: {slope: 0.2}}}", "bad-value"),
    ("{conv: 8, kernel: 3, activation: {leaky_relu: steep}}", "bad-value"),
    ("{conv: 8, kernel: 3, activation: {relu: null, gelu: null}}", "unknown-key"),
    # the options of every layer
    ("{relu: null, name: 3a}", "bad-name"),
    ("{relu: null, name: a.b}", "bad-name"),
    ("{relu: null, name: input}", "bad-name"),
    ("{relu: null, name: [a]}", "bad-value"),
    ("{relu: null, from: [stem]}", "bad-value"),
    ("{relu: null, if: 1}", "bad-value"),
    ("{relu: null, if: yes}", "bad-value"),
    ("{relu: null, repeat: -1}", "bad-value"),
    ("{relu: null, repeat: 1.5}", "bad-value"),
    ("{relu: null, repeat: [2]}", "bad-value"),
    ("{conv: 8, kernel: 3, first: {stride: 2}}", "bad-value"),
    ("{conv: 8, kernel: 3, repeat: 2, first: [2]}", "bad-value"),
    ("{conv: 8, kernel: 3, repeat: 2, first: {strides: 2}}", "unknown-key"),
    ("{conv: 8, kernel: 3, repeat: 2, first: {stride: 0}}", "bad-value"),
    ("{conv: 8, kernel: 3, repeat: 2, first: {norm: none}}", "unknown-key"),
    # merges
    ("add", "bad-value"),
    ("{add: null}", "bad-value"),
    ("{add: stem}", "bad-value"),
    ("{add: [stem]}", "bad-value"),
    ("{add: [stem, previous], from: stem}", "bad-value"),
    ("{add: [stem, [previous]]}", "bad-value"),
    ("{concat: {a: [relu]}}", "bad-value"),
    ("{concat: {a: relu, b: []}}", "bad-value"),
    ("{concat: {a: [relu], 2b: []}}", "bad-name"),
    ("{concat: {a: [relu], b: []}, norm: batch_norm}", "unknown-key"),
    ("{concat: {a: [relu], b: []}, repeat: 2, first: {}}", "bad-value"),
    ("{concat: {a: [{concat: {c: [relu], d: []}}], b: []}}", "nested-structure"),
    ("{concat: {a: [{stage: s, do: [relu]}], b: []}}", "nested-structure"),
    # residuals
    ("{residual: [relu]}", "bad-value"),
    ("residual", "bad-value"),
    ("{residual: {shortcut: auto}}", "missing-key"),
    ("{residual: {body: {conv: 8, kernel: 3}}}", "bad-value"),
    ("{residual: {body: [{conv: 8, kernel: 3}], shortcut: automatic}}", "bad-value"),
    ("{residual: {body: [{conv: 8, kernel: 3}], shortcut: null}}", "bad-value"),
    ("{residual: {body: [{conv: 8, kernel: 3}], norm: batch_norm}}", "unknown-key"),
    ("{residual: {body: [{conv: 8, kernel: 3}], activation: rulu}}", "unknown-name"),
    ("{residual: {body: [{conv: 8, kernel: 3}]}, activation: relu}", "unknown-key"),
    ("{residual: {body: [{conv: 8, kernel: 3}]}, repeat: 2, first: {stride: 2}}", "bad-value"),
    ("{residual: {body: [{residual: {body: [{conv: 8, kernel: 3}]}}]}}", "nested-structure"),
    ("{residual: {body: [{conv: 8, kernel: 3}], shortcut: [{residual: {body: []}}]}}", "nested-structure"),
    # stages
    ("{stage: null, do: [relu]}", "missing-key"),
    ("{stage: s}", "missing-key"),
    ("{stage: s, do: relu}", "bad-value"),
    ("{stage: s, do: [relu], name: t}", "unknown-key"),
    ("{stage: s, do: [relu], repeat: 2}", "unknown-key"),
    ("{stage: s$i, each: [1, 2], do: [relu]}", "bad-value"),
    ("{stage: s$i, each: {n: 2}, do: [relu]}", "bad-value"),
    ("{stage: s$i, each: {2n: [1, 2]}, do: [relu]}", "bad-name"),
    # tables and calls
    ("table", "unknown-op"),
    ("{table: null, rows: {a: [8]}}", "unknown-op"),
    ("{table: unit}", "missing-key"),
    ("{table: unit, rows: {}}", "bad-value"),
    ("{table: unit, rows: [[8]]}", "bad-value"),
    ("{table: unit, rows: {a-b: [8]}}", "bad-name"),
    ("{table: unit, rows: {a: [8]}, prefix: 3a}", "bad-name"),
    ("{table: unit, rows: {a: [8]}, name: t}", "unknown-key"),
    ("{unit: {filters: {of: 8}}}", "bad-value"),
    ("{unit: 8, kernel: 3}", "unknown-key"),
    ("{unit: 8, repeat: 2, first: [16]}", "bad-value"),
]

GOOD_SECTIONS = [
    "train: {optimizer: {adam: 1e-3}, epochs: 3, batch_size: 8, split: {folds: 3, fold: 1, seed: 7}}",
    "train: {optimizer: {adam: 1e-3}, epochs: 3, batch_size: 8, split: {validation: 9, stratified: false}}",
    "name: small-2.1_b",
    "name: 18",
    "cite: 1512.03385",
    "description: null",
    "use: squeeze_excite",
    "use: [squeeze_excite]",
    "input: {channels: 3, size: [32, 48]}",
    "input: {channels: 3, size: $width * 4}",
    "input: {channels: 3, size: [32, $width * 4]}",
    "params: {classes: 10, text: abc, list: [1, [2, x]], none: null, flag: false}",
    "let: {half: $width // 2, list: [$width, 3], text: abc}",
    "defaults: {conv: {kernel: 3, bias: false, norm: {batch_norm: {epsilon: 1e-3}}, activation: none}}",
    "defaults: {conv: {norm: null}, max_pool: {stride: 2}, add: {activation: relu}, relu: {}}",
    "defaults: {conv: {groups: $width // 8}}",
    "blocks: {unit: {args: [filters], layers: [{conv: $filters, kernel: 3}]}}",
    "blocks: {unit: {args: {filters: required}, let: {f: $filters * 2}, conv: $f, kernel: 3}}",
    "blocks: {a: {layers: [b]}, b: {args: null, residual: {body: [{conv: 8, kernel: 3}]}}}",
    "outputs: {aux: {from: stem, training_only: true, loss_weight: 0.3, layers: [relu]}}",
    "outputs: {aux: {from: stem, training_only: $deep, loss_weight: 1 / $width, layers: [relu]}}",
    "outputs: {aux: {from: stem}}",
    "blocks: ~~",
    "blocks: {}\nuse: null\noutputs: {aux: {from: stem, layers: [{residual: {body: [{conv: 8, kernel: 3}]}}, relu]}}",
    "blocks: ~~\nuse: squeeze_excite\noutputs: {aux: {from: stem, layers: [{squeeze_excite: {reduction: 2}}]}}",
    "blocks: ~~\ntransfer: {head: [head], cases: {large_similar: {replace: {head: [relu, {dropout: 0.1}]}}}}",
    "outputs: null",
    "preprocess: {resize: 256, crop: [32, 32], channel_order: bgr, scale: 1/255, mean: [1, 2, 3]}",
    "preprocess: {resize: null, resize_to: exact, interpolation: lanczos, scale: 1 / 127.5}",
    "preprocess: {resize: $width * 8}",
    "labels: null",
    "train: {optimizer: {adam: 1e-3}, epochs: 3, batch_size: 8}",
    "train: {optimizer: {sgd: {learning_rate: 0.1}, nesterov: false}, epochs: $width, batch_size: 8}",
    "train: {optimizer: {sgd: 0.1}, schedule: {cosine: null, warmup: 5}, epochs: 8, batch_size: 8}",
    "train: {optimizer: {sgd: 0.1}, clip: {value: 1}, ema: 0.99, epochs: 8, batch_size: 8}",
    "transfer: {head: [head], boundaries: [stem], cases: {small_similar: {freeze: ['*'], replace: [head]}}}",
    "transfer: {head: [head], cases: {large_similar: {freeze_through: stem, unfreeze: {5: [stem]}}}}",
    "transfer: {head: [head], cases: {large_similar: {learning_rate: {stem: 0.1}, replace: {head: null}}}}",
    "transfer: {head: [head], cases: {large_different: {replace: {head: [{conv: 3, kernel: 1}]}}}}",
    "transfer: {head: [head], cases: {small_different: {features: {from: stem, layers: [flatten, {dense: $classes}]}}}}",
]

GOOD_LAYERS = [
    "relu",
    "{relu: null}",
    "{relu: {}}",
    "unit",
    "{unit: null}",
    "{unit: 8}",
    "{unit: [8, 1]}",
    "{unit: {filters: $width * 2}, repeat: 2, first: {stride: 2}, name: units}",
    "{unit: {stride: '$sizes[0] // 8'}}",
    "{conv: $width, kernel: [3, '$sizes[0] // 8 * 3'], stride: [1, 2]}",
    "{conv: '$sizes[1] * 2', kernel: 3, bias: not $deep, padding: [$width // 8, 1, 1, 1]}",
    "{conv: 8, kernel: 3, padding: $width // 8}",
    "{conv: 8, kernel: 3, norm: batch_norm, activation: $act}",
    "{conv: 8, kernel: 3, norm: {batch_norm: {epsilon: 1e-3}}, activation: {leaky_relu: 0.2}}",
    "{conv: 8, kernel: 3, norm: {batch_norm: null, scale: false}, activation: null}",
    "{conv: 8, kernel: 3, norm: {lrn: 5, alpha: 2e-5}, activation: {gelu: {approximate: true}}}",
    "{conv: 8, kernel: 3, norm: none, activation: prelu}",
    "{conv: 8, kernel: 3, repeat: 2, first: {filters: 16, stride: 2}}",
    "{conv: 8, kernel: 3, repeat: $width // 4, if: $deep}",
    "{conv: 8, kernel: 3, if: false}",
    "{depthwise_conv: 3, depth_multiplier: 2, dilation: 2}",
    "{transposed_conv: 8, kernel: 2, stride: 2, padding: valid}",
    "{batch_norm: {epsilon: 1e-3, activation: relu}}",
    "{batch_norm: null, scale: false, shift: false}",
    "{batch_norm: {momentum: 0.99}, scale: false, activation: relu}",
    "{layer_norm: null, scale: false}",
    "{scale: 0.17}",
    "{scale: $width / 10, name: a$width}",
    "{lrn: null}",
    "{leaky_relu: null}",
    "{max_pool: 3, stride: 2, padding: 1, ceil_mode: true}",
    "{max_pool: 2, stride: null}",
    "{avg_pool: [2, 2], divisor: padded}",
    "{spatial_dropout: 0}",
    "{upsample: 2, mode: bilinear}",
    "{zero_pad: [0, 0, 1, 1]}",
    "{add: [previous, stem]}",
    "{add: null, from: [previous, stem], activation: relu}",
    "{add: {a: [{conv: 8, kernel: 3}], b: []}, from: stem, name: sum}",
    "{concat: {a: [{conv: 8, kernel: 3}, {add: [previous, 0]}], b: []}}",
    "{multiply: {maps: [], gate: [{global_avg_pool: {keep_dims: true}}, {conv: 8, kernel: 1}]}}",
    "{residual: {body: [{conv: 8, kernel: 3}]}}",
    "{residual: {body: [{conv: 16, kernel: 3, stride: 2}], shortcut: projection, activation: relu}, name: r}",
    "{residual: {body: [{conv: 8, kernel: 3}], shortcut: [relu], activation: {elu: 1}}, repeat: 2}",
    "{residual: {body: [{add: {a: [relu], b: []}}], shortcut: []}}",
    "{stage: s, do: [relu, {conv: 8, kernel: 3}], from: stem}",
    "{stage: s$i, each: {f: $sizes, n: [1, $width]}, do: [{conv: $f, kernel: 3, repeat: $n}], if: $deep}",
    "{stage: s, do: [{stage: t$i, each: {n: [1, 2]}, do: [{residual: {body: [relu]}}]}]}",
    "{table: unit, rows: {1a: [8], 1b: {filters: 16}, 1c: 8, 1d: null}, prefix: unit}",
]


@pytest.mark.parametrize(
    ("text", "slug"),
    [(spec(s), slug) for s, slug in BAD_SECTIONS] + [(with_layer(s), slug) for s, slug in BAD_LAYERS],
    ids=[f"{s} -> {slug}" for s, slug in BAD_SECTIONS + BAD_LAYERS],
)  # fmt: skip
def test_both_refuse(validator: Draft202012Validator, check: Check, text: str, slug: str) -> None:
    assert slug in {d.slug for d in check(text)}
    assert not validator.is_valid(parsed(text))


@pytest.mark.parametrize(
    "text",
    [spec(s) for s in GOOD_SECTIONS] + [with_layer(s) for s in GOOD_LAYERS],
    ids=GOOD_SECTIONS + GOOD_LAYERS,
)
def test_both_accept(validator: Draft202012Validator, check: Check, text: str) -> None:
    assert [f"{d.slug}: {d.message}" for d in check(text)] == []
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(parsed(text))] == []


def test_an_extending_spec_needs_little(validator: Draft202012Validator, check: Check) -> None:
    text = (
        "name: other\nextends: resnet50\nparams: {classes: 5}\ninput: {size: 160}\npreprocess: null\n"
        "defaults: {conv: {norm: null}}\ntransfer: {cases: {}}\n"
    )
    assert check(text) == []
    assert validator.is_valid(parsed(text))
    assert not validator.is_valid(parsed(text.replace("extends: resnet50\n", "")))
