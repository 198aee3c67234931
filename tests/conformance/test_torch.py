"""What is PyTorch's own: the text that runs, weights going in, heads in training. Ops and networks: test_backends.py."""

import inspect
import linecache
import multiprocessing
import pickle
import traceback

import numpy as np
import pytest
from drawn import images_for, weights_of

import cnnspec

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def lenet():
    return cnnspec.load("lenet5")


def test_the_model_is_what_the_text_makes(lenet, tmp_path):
    """The file that `build` writes, run by itself, computes what `net.build` does."""
    weights = weights_of(lenet.graph)
    live = lenet.build("torch", weights).double().eval()
    namespace: dict[str, object] = {}
    exec(compile(lenet.write_source("torch", tmp_path)[0].read_text(), "model.py", "exec"), namespace)
    model = namespace["Lenet5"]()
    model.load_state_dict({name: torch.tensor(array).float() for name, array in weights.items()})
    x = torch.tensor(images_for(lenet.graph))
    assert torch.equal(model.double().eval()(x), live(x))


def test_keys_are_paths(lenet):
    assert set(lenet.build("torch").state_dict()) == set(weights_of(lenet.graph))


def test_a_traceback_shows_the_generated_line(lenet):
    model = lenet.build("torch")
    with pytest.raises(RuntimeError) as caught:
        model(torch.zeros(1, 3, 5, 5))
    frames = [frame for frame in traceback.extract_tb(caught.value.__traceback__) if "cnnspec lenet5" in frame.filename]
    assert frames
    assert "self." in (frames[-1].line or "")
    linecache.checkcache()  # as debuggers do: the text must survive it
    assert linecache.getline(frames[-1].filename, frames[-1].lineno or 0)


def test_a_model_is_pickled_and_shows_its_text(lenet):
    model = lenet.build("torch").eval()
    copy = pickle.loads(pickle.dumps(model))
    images = torch.ones(1, 1, 28, 28)
    assert torch.equal(copy(images), model(images))
    assert type(lenet.build("torch")) is type(model)
    assert inspect.getsource(type(model)).strip() in lenet.source("torch")
    assert inspect.getsource(type(model).forward).lstrip().startswith("def forward(self")
    here, there = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=_sends_back, args=(there,))
    child.start()
    here.send_bytes(pickle.dumps(model))
    sent = pickle.loads(here.recv_bytes())
    child.join()
    assert type(sent) is type(model)
    other = cnnspec.load("lenet5", classes=3).build("torch")
    assert inspect.getsource(type(model)).strip() in lenet.source("torch"), "another text is another module"
    assert type(pickle.loads(pickle.dumps(other))) is type(other)


def _sends_back(end):
    end.send_bytes(pickle.dumps(pickle.loads(end.recv_bytes())))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("fc2.weight" if "fc2.weight" in w else next(iter(w))), "Missing key"),
        (lambda w: w.update(other=np.zeros(3)), "Unexpected key"),
        (lambda w: w.update({next(iter(w)): np.zeros(3)}), "size mismatch"),
    ],
)
def test_weights_fit_or_are_refused(lenet, change, said):
    weights = weights_of(lenet.graph)
    change(weights)
    with pytest.raises(ValueError, match=said):
        lenet.build("torch", weights)


def test_weights_train_and_statistics_do_not():
    net = cnnspec.load("resnet18", params={"input.size": 32})
    model = net.build("torch", weights_of(net.graph))
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == {f"{n.path}.{k}" for n in net.graph.nodes for k, p in n.params.items() if p.trainable}
    before = model.get_buffer("stem.bn.running_mean").clone()
    model.train()(torch.tensor(images_for(net.graph)).float())
    assert not torch.equal(before, model.get_buffer("stem.bn.running_mean"))


def test_heads_of_training_are_returned_in_training():
    net = cnnspec.load("googlenet", params={"input.size": 224})
    model = net.build("torch", weights_of(net.graph))
    x = torch.tensor(images_for(net.graph, batch=1)).float()
    assert [tuple(y.shape) for y in model.train()(x)] == [(1, 1000)] * 3
    assert model.eval()(x).shape == (1, 1000)


def test_classes_stay_a_parameter_of_the_network_and_its_heads(tmp_path):
    namespace: dict[str, object] = {}
    exec(cnnspec.load("googlenet").source("torch"), namespace)
    model = namespace["Googlenet"](classes=7)
    assert [tuple(y.shape) for y in model.train()(torch.zeros(2, 3, 224, 224))] == [(2, 7)] * 3


def test_gradients_are_those_of_finite_differences(lenet):
    from cnnspec.lower.backend import backend

    graph, weights, images = lenet.graph, weights_of(lenet.graph), images_for(lenet.graph, batch=1)
    end = graph.outputs[0].node
    cotangents = {end.path: np.random.default_rng(0).normal(size=(1, end.shape.channels))}
    gradients = backend("torch").runner(graph, weights, "float64").gradients(images, cotangents)
    assert gradients.keys() == weights.keys()

    def total(changed):
        outputs = backend("reference").runner(graph, changed, "float64").outputs(images)
        return float((outputs[end.path] * cotangents[end.path]).sum())

    for name, gradient in gradients.items():
        at = np.unravel_index(np.abs(gradient).argmax(), gradient.shape)
        step = np.zeros(gradient.shape)
        step[at] = 1e-6
        around = [total(weights | {name: weights[name] + sign * step}) for sign in (1, -1)]
        assert abs((around[0] - around[1]) / 2e-6 - gradient[at]) <= 1e-6 * max(1, abs(gradient[at]))
