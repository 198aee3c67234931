"""What a summary says of a transfer case: what trains and what does not, from when on, at which rate."""

import json

import cnnspec

SPEC = """\
cnnspec: 1
name: small
input: {channels: 1, size: 4}
params: {classes: 3}
layers:
  - {conv: 2, kernel: 3, norm: batch_norm, name: a}
  - {conv: 2, kernel: 3, norm: batch_norm, name: b}
  - {conv: 2, kernel: 1, name: c}
  - flatten
  - {dense: $classes, name: fc}
outputs: {side: {from: b, training_only: true, layers: [flatten, {dense: $classes, name: out}]}}
transfer:
  head: [fc]
  cases:
    small_similar: {freeze: ["*"], replace: [fc]}
    large_similar:
      freeze_through: b
      replace: [fc]
      learning_rate: {"*": 0.5, "?": 0.1, fc: 2}
      unfreeze: {7: [b], 3: [b.bn]}
    large_different: {replace: [fc]}
"""
A, B, C, FC = 2 * 9 + 2 + 4, 2 * 2 * 9 + 2 + 4, 2 * 2 + 2, 3 * 2 * 16 + 3  # weights, biases, scales, shifts


def summary(folder, case):
    path = folder / "small.yaml"
    path.write_text(SPEC)
    return cnnspec.load(path, transfer=case).summary()


def test_all_but_the_head_frozen(tmp_path):
    made = summary(tmp_path, "small_similar")
    found = made.to_dict()
    assert found["transfer"] == {
        "case": "small_similar", "trains": FC, "frozen": A + B + C, "new": FC, "from_epoch": {},
        "left_out": ["side"],
    }  # fmt: skip
    assert found["params"]["trainable"] == FC
    assert found["params"]["non_trainable"] == A + B + C + 2 * 4
    assert found["params"]["training_only"] == 0
    assert [layer["path"] for layer in found["layers"] if layer["training_only"]] == []
    (line,) = (line for line in made.to_text().splitlines() if line.startswith("left out"))
    assert line.split(maxsplit=3)[2:] == ["-", "side: nothing that they share trains"]
    *_, head = (layer for layer in found["layers"] if layer["params"] and not layer["training_only"])
    assert (head["path"], head["trains_from"], head["rate_factor"], head["new"]) == ("fc", 1, 1.0, True)
    first = found["layers"][0]
    assert (first["path"], first["trains_from"], first["trainable"], first["new"]) == ("a.conv", None, False, False)


def test_factors_and_epochs(tmp_path):
    made = summary(tmp_path, "large_similar")
    found = made.to_dict()
    assert found["transfer"] == {
        "case": "large_similar", "trains": B + C + FC, "frozen": A, "new": FC, "from_epoch": {"3": 4, "7": B - 4},
        "left_out": [],
    }  # fmt: skip
    layers = {layer["path"]: (layer["trains_from"], layer["rate_factor"]) for layer in found["layers"]}
    assert layers["a.conv"] == (None, 1.0)
    assert layers["b.conv"] == (7, 0.1)
    assert layers["b.bn"] == (3, 0.1)  # the earliest epoch, the last factor
    assert layers["c"] == (1, 0.1)
    assert layers["fc"] == (1, 2.0)
    assert layers["side.out"] == (1, 0.5)


def test_as_a_table(tmp_path):
    made = summary(tmp_path, "large_similar")
    lines = {line.split()[0]: line for line in made.to_text(depth=1).splitlines() if line}
    assert " frozen " in lines["a"]
    assert " from epoch 7, rate × 0.1; from epoch 3, rate × 0.1 " in lines["b"]
    assert " rate × 0.1 " in lines["c"]
    assert " new, rate × 2 " in lines["fc"]
    assert lines["trains"].split()[1:] == [
        str(B + C + FC),
        "4",
        "from",
        "epoch",
        "3;",
        str(B - 4),
        "from",
        "epoch",
        "7",
    ]
    assert lines["frozen"].split()[1:] == [str(A), "all", "the", "time"]
    assert lines["new"].split()[1] == str(FC)
    text = made.to_markdown(depth=1)
    assert "| training " in text
    assert "| from epoch 7, rate × 0.1; from epoch 3, rate × 0.1 |" in text
    narrow = made.to_text(depth=1, width=50)
    assert max(map(len, narrow.splitlines())) <= 50


def test_what_no_loss_depends_on_does_not_train(tmp_path):
    """A further output of inference: generated code leaves what leads to it alone as it is."""
    path = tmp_path / "small.yaml"
    path.write_text(SPEC.replace("training_only: true, ", ""))
    net = cnnspec.load(path, transfer="large_different")
    found = net.summary().to_dict()
    side = 3 * 2 * 16 + 3
    assert (found["transfer"]["trains"], found["transfer"]["frozen"]) == (A + B + C + FC, side)
    assert {layer["path"]: layer["trains_from"] for layer in found["layers"]}["side.out"] is None
    (line,) = (line for line in net.summary().to_text().splitlines() if line.startswith("side"))
    assert " no loss " in line


def test_without_a_case_nothing_is_said_of_it(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SPEC)
    made = cnnspec.load(path).summary()
    assert "transfer" not in json.loads(made.to_json())
    assert "training  " not in made.to_text()
    assert "rate_factor" not in made.to_json()


def test_of_weights_it_says_how_much_is_read(tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(SPEC)
    for classes in (3, 5):
        net = cnnspec.load(path, classes=classes)
        net.save_weights(f"{classes}.safetensors", net.weights(3))
    code, out, _ = cli(
        "summary", "small.yaml", "--transfer", "large_similar", "--weights", "3.safetensors", "--format", "json"
    )
    assert code == 0
    assert json.loads(out)["weights"]["loaded"] == A + B + C + 2 * 4, "all but the new head, running statistics too"
    code, out, _ = cli("summary", "small.yaml", "--set", "classes=5", "--weights", "5.safetensors")
    assert code == 0
    everything = str(A + B + C + 2 * 4 + 5 * 2 * 16 + 5)
    assert [line.split()[2] for line in out.splitlines() if line.startswith("from weights")] == [everything]
    code, out, err = cli("summary", "small.yaml", "--weights", "5.safetensors")
    assert (code, out) == (1, "")
    assert "weight-shape" in err
