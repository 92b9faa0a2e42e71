#!/usr/bin/env python3
"""Reference values for meta-gradients, computed with PyTorch in float64.

An implementation independent of Anole's graph compiler: networks, inner loops and meta-gradients are written
directly from the paper (Nichol, Achiam, Schulman, arXiv:1803.02999v3; `phi` is the initialization) and
differentiated by PyTorch. Nothing is random: parameters, images and labels come from an integer hash, `noise`,
that TypeScript mirrors with `Math.imul` and `>>> 0`, so that both languages start from the same numbers.

    /usr/bin/python3 test/reference/meta_gradients.py           # checks itself, writes meta_gradients.json
    /usr/bin/python3 test/reference/meta_gradients.py --quick   # the small networks only, writes nothing

Before writing, the script holds itself to:
- forward passes against plain NumPy loops that follow TensorFlow's definition of SAME padding;
- gradients and MAML gradients against central differences of the loss;
- conv biases, which batch norm cancels, having no gradient.
A failed check stops the script and nothing is written.
"""

import argparse
import json
import math
import platform
import re
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)

# ---------------------------------------------------------------------------------------------------------------
# Reproducible numbers


def noise(n, salt):
    """n numbers in [-1, 1): a 32-bit hash of (index, salt). Every operation is modulo 2^32."""
    mask = np.uint64(0xFFFFFFFF)
    i = np.arange(n, dtype=np.uint64)
    h = (i * np.uint64(2654435761) + np.uint64(salt * 40503 + 0x9E3779B9)) & mask
    h ^= h >> np.uint64(16)
    h = (h * np.uint64(0x85EBCA6B)) & mask
    h ^= h >> np.uint64(13)
    h = (h * np.uint64(0xC2B2AE35)) & mask
    h ^= h >> np.uint64(16)
    return h.astype(np.float64) / 2**31 - 1


# Salts. Leaves of the parameters take 1, 2, 3, ... in the order of the layout.
SALT_INPUT, SALT_TARGET = 100, 101
SALT_SECOND_MOMENTS = 500
SALT_PROJECTIONS = range(900, 908)
SALT_DIRECTIONS = (910, 911)  # central differences, not in the JSON

EPS_BATCH_NORM = 1e-3
BETA2, EPS_ADAM = 0.999, 1e-8
STEPS_TAKEN = 7  # of the Adam state that is carried over
EXAMPLES, BATCH, INNER_STEPS = 50, 10, 5

# 7 is coprime with 50: each of the 50 examples is used once. Batch 4 is the tail of FOMAML and MAML.
BATCHES = [[(j * BATCH + i) * 7 % EXAMPLES for i in range(BATCH)] for j in range(INNER_STEPS)]

# ---------------------------------------------------------------------------------------------------------------
# Networks: phi is one flat vector, `leaves` names its parts in order: (name, shape, kind)


def same_padding(size, kernel, stride):
    """TensorFlow's SAME: the output has ceil(size / stride) positions; an odd pad goes after."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def pad_same(x, kernel, stride, value):
    """x: [batch, channels, height, width]"""
    top, bottom = same_padding(x.shape[2], kernel, stride)
    left, right = same_padding(x.shape[3], kernel, stride)
    return F.pad(x, (left, right, top, bottom), value=value)


class Net:
    """What all networks share: a layout, phi, inputs and targets, and a loss of one number per example."""

    def __init__(self, leaves):
        self.leaves = leaves
        self.sizes = [math.prod(shape) for _, shape, _ in leaves]
        self.size = sum(self.sizes)

    def initial_params(self):
        """phi: Glorot's limit times noise for weights; biases, scales and shifts are moved off 0, 1, 0."""
        parts = []
        for index, ((_, shape, kind), n) in enumerate(zip(self.leaves, self.sizes), start=1):
            u = noise(n, index)
            if kind == "weights":
                receptive = math.prod(shape[:-2])  # 9 for a 3x3 filter, 1 for a dense layer
                u = u * math.sqrt(6 / (receptive * shape[-2] + receptive * shape[-1]))
            elif kind == "scale":
                u = 1 + 0.1 * u
            else:  # bias, shift
                u = 0.1 * u
            parts.append(u)
        return torch.from_numpy(np.concatenate(parts))

    def unpack(self, params):
        pieces = torch.split(params, self.sizes)
        return {name: piece.reshape(shape) for (name, shape, _), piece in zip(self.leaves, pieces)}

    def losses(self, params, x, y):
        raise NotImplementedError

    def loss(self, params, x, y):
        return self.losses(params, x, y).mean()


class ConvNet(Net):
    """§6.1: four layers, then dense to `ways`.

    pool=False (Omniglot):      [conv 3x3 stride 2 SAME + bias, batch norm, ReLU] x 4
    pool=True  (Mini-ImageNet): [conv 3x3 stride 1 SAME + bias, batch norm, max-pool 2x2 stride 2 SAME, ReLU] x 4

    Inputs are [batch, size, size, channels] and the features are flattened as [height, width, channels].
    """

    def __init__(self, *, size, channels, filters, ways, pool):
        self.input_shape = [size, size, channels]
        self.filters, self.ways, self.pool = filters, ways, pool
        leaves, cin, side = [], channels, size
        for i in range(1, 5):
            leaves += [
                (f"conv{i}/filter", [3, 3, cin, filters], "weights"),
                (f"conv{i}/bias", [filters], "bias"),
                (f"norm{i}/scale", [filters], "scale"),
                (f"norm{i}/shift", [filters], "shift"),
            ]
            cin, side = filters, math.ceil(side / 2)
        leaves += [("dense/weights", [side * side * filters, ways], "weights"), ("dense/bias", [ways], "bias")]
        super().__init__(leaves)

    def data(self, count):
        """Images in [0, 1), labels 0, 1, ..., ways-1, 0, 1, ..."""
        pixels = (noise(count * math.prod(self.input_shape), SALT_INPUT) + 1) / 2
        return torch.from_numpy(pixels.reshape([count, *self.input_shape])), torch.arange(count) % self.ways

    def logits(self, params, x):
        p = self.unpack(params)
        stride = 1 if self.pool else 2
        h = x.permute(0, 3, 1, 2)  # NHWC -> NCHW
        for i in range(1, 5):
            w = p[f"conv{i}/filter"].permute(3, 2, 0, 1)  # [3, 3, in, out] -> [out, in, 3, 3]
            h = F.conv2d(pad_same(h, 3, stride, 0.0), w, p[f"conv{i}/bias"], stride=stride)
            mean = h.mean(dim=(0, 2, 3), keepdim=True)
            variance = ((h - mean) ** 2).mean(dim=(0, 2, 3), keepdim=True)  # biased
            h = (h - mean) / torch.sqrt(variance + EPS_BATCH_NORM)
            h = h * p[f"norm{i}/scale"].reshape(1, -1, 1, 1) + p[f"norm{i}/shift"].reshape(1, -1, 1, 1)
            if self.pool:
                h = F.max_pool2d(pad_same(h, 2, 2, -math.inf), 2)
            h = torch.relu(h)
        h = h.permute(0, 2, 3, 1).flatten(1)  # [batch, height * width * channels]
        return h @ p["dense/weights"] + p["dense/bias"]

    def losses(self, params, x, y):
        return F.cross_entropy(self.logits(params, x), y, reduction="none")


class SineNet(Net):
    """§4: 1 -> 64 -> 64 -> 1 with Tanh, squared error."""

    input_shape = [1]

    def __init__(self):
        widths, leaves = [1, 64, 64, 1], []
        for i in range(1, 4):
            leaves += [(f"dense{i}/weights", widths[i - 1 : i + 1], "weights"), (f"dense{i}/bias", [widths[i]], "bias")]
        super().__init__(leaves)

    def data(self, count):
        """x in [-5, 5), y in [-2, 2)"""
        x, y = 5 * noise(count, SALT_INPUT), 2 * noise(count, SALT_TARGET)
        return torch.from_numpy(x.reshape(count, 1)), torch.from_numpy(y.reshape(count, 1))

    def logits(self, params, x):  # predictions, [batch, 1]
        p = self.unpack(params)
        h = torch.tanh(x @ p["dense1/weights"] + p["dense1/bias"])
        h = torch.tanh(h @ p["dense2/weights"] + p["dense2/bias"])
        return h @ p["dense3/weights"] + p["dense3/bias"]

    def losses(self, params, x, y):
        return ((self.logits(params, x) - y) ** 2)[:, 0]


# ---------------------------------------------------------------------------------------------------------------
# Inner optimizers: (params, gradient, state) -> (params, state)


class Sgd:
    def __init__(self, lr):
        self.lr = lr

    def start(self, size):
        return None

    def update(self, params, g, state):
        return params - self.lr * g, state


class Adam:
    """Adam with beta1 = 0 in TensorFlow's form: epsilon is added to sqrt(v), not to sqrt(v / (1 - beta2^t))."""

    def __init__(self, lr, *, carried):
        self.lr, self.carried = lr, carried

    def start(self, size):
        """(v, t): second moments and steps already taken"""
        if not self.carried:
            return torch.zeros(size), 0
        return torch.from_numpy((0.01 * (noise(size, SALT_SECOND_MOMENTS) + 1.5)) ** 2), STEPS_TAKEN

    def update(self, params, g, state):
        v, t = state
        v, t = BETA2 * v + (1 - BETA2) * g * g, t + 1
        return params - self.lr * math.sqrt(1 - BETA2**t) * g / (torch.sqrt(v) + EPS_ADAM), (v, t)


# ---------------------------------------------------------------------------------------------------------------
# Inner loop and meta-gradients


def inner_loop(net, optimizer, phi, state, batches, create_graph=False):
    """U(phi): one optimizer step for each batch. Returns [phi_0, ..., phi_k], the state, gradients, losses.

    With create_graph every step stays differentiable with respect to phi, second moments included.
    """
    trajectory, gradients, losses = [phi], [], []
    for x, y in batches:
        params = trajectory[-1]
        if not create_graph:
            params = params.detach().requires_grad_(True)
        loss = net.loss(params, x, y)
        (g,) = torch.autograd.grad(loss, params, create_graph=create_graph)
        params, state = optimizer.update(params, g, state)
        if not create_graph:
            params = params.detach()
        trajectory.append(params)
        gradients.append(g)
        losses.append(loss.item())
    return trajectory, state, gradients, losses


def gradient(net, params, x, y):
    params = params.detach().requires_grad_(True)
    (g,) = torch.autograd.grad(net.loss(params, x, y), params)
    return g


def maml_gradient(net, optimizer, phi, state, batches):
    """d/dphi L_last(U_{all but last}(phi)), exact: reverse mode through the unrolled inner loop."""
    phi = phi.detach().requires_grad_(True)
    trajectory, *_ = inner_loop(net, optimizer, phi, state, batches[:-1], create_graph=True)
    (g,) = torch.autograd.grad(net.loss(trajectory[-1], *batches[-1]), phi)
    return g


def maml_loss(net, optimizer, phi, state, batches):
    trajectory, *_ = inner_loop(net, optimizer, phi, state, batches[:-1])
    return net.loss(trajectory[-1], *batches[-1]).item()


# ---------------------------------------------------------------------------------------------------------------
# Checks of this script itself

BOUND_DERIVATIVE = 1e-6


def check(what, error, bound):
    print(f"  {what}: relative error {error:.1e} (bound {bound:.0e})", flush=True)
    if not error <= bound:
        raise SystemExit(f"{what}: relative error {error:.3e} exceeds {bound:.0e}; nothing was written")


def check_derivative(what, f, phi, g):
    """g . u against (f(phi + hu) - f(phi - hu)) / 2h along random unit vectors u.

    The networks are only piecewise smooth (ReLU, max-pool). A unit that switches between phi - hu and phi + hu
    spoils the difference at that h, so a shorter step gets a second try; a wrong gradient fails at both.
    """
    for salt in SALT_DIRECTIONS:
        u = torch.from_numpy(noise(phi.numel(), salt))
        u = u / u.norm()
        analytic = torch.dot(g, u).item()
        for h in (1e-5, 1e-6):
            numeric = (f(phi + h * u) - f(phi - h * u)) / (2 * h)
            error = abs(numeric / analytic - 1)
            if error <= BOUND_DERIVATIVE:
                break
            print(f"  {what}: relative error {error:.1e} at h = {h:.0e}")
        check(f"{what} against central differences, direction {salt}, h = {h:.0e}", error, BOUND_DERIVATIVE)


def numpy_logits(net, params, x):
    """The forward pass once more, in loops over output positions and straight from the definitions, in NHWC."""
    p = {name: value.numpy() for name, value in net.unpack(params).items()}
    h = x.numpy()
    if isinstance(net, SineNet):
        for i in (1, 2):
            h = np.tanh(h @ p[f"dense{i}/weights"] + p[f"dense{i}/bias"])
        return h @ p["dense3/weights"] + p["dense3/bias"]

    def windows(h, kernel, stride):
        """Yields (row, column, taps): taps are the (ky, kx, [batch, channels]) that lie inside the image."""
        height, width = h.shape[1:3]
        before = same_padding(height, kernel, stride)[0], same_padding(width, kernel, stride)[0]
        for row in range(math.ceil(height / stride)):
            for column in range(math.ceil(width / stride)):
                taps = []
                for ky in range(kernel):
                    for kx in range(kernel):
                        r, c = row * stride + ky - before[0], column * stride + kx - before[1]
                        if 0 <= r < height and 0 <= c < width:
                            taps.append((ky, kx, h[:, r, c, :]))
                yield row, column, taps

    stride = 1 if net.pool else 2
    for i in range(1, 5):
        batch, height, width, _ = h.shape
        out = np.zeros((batch, math.ceil(height / stride), math.ceil(width / stride), net.filters))
        for row, column, taps in windows(h, 3, stride):
            out[:, row, column] = sum(v @ p[f"conv{i}/filter"][ky, kx] for ky, kx, v in taps) + p[f"conv{i}/bias"]
        normal = (out - out.mean(axis=(0, 1, 2))) / np.sqrt(out.var(axis=(0, 1, 2)) + EPS_BATCH_NORM)
        h = normal * p[f"norm{i}/scale"] + p[f"norm{i}/shift"]
        if net.pool:
            pooled = np.zeros((batch, math.ceil(height / 2), math.ceil(width / 2), net.filters))
            for row, column, taps in windows(h, 2, 2):
                pooled[:, row, column] = np.max([v for _, _, v in taps], axis=0)
            h = pooled
        h = np.maximum(h, 0)
    return h.reshape(len(h), -1) @ p["dense/weights"] + p["dense/bias"]


# ---------------------------------------------------------------------------------------------------------------
# What is written


def digits(value):
    """12 significant digits"""
    return float(f"{float(value):.12g}")


def summary(vector):
    """A vector as its length, norm, 8 projections and 12 entries at floor(i * (length - 1) / 11)."""
    v = vector.detach().numpy().reshape(-1)
    n = len(v)
    return {
        "length": n,
        "norm": digits(np.linalg.norm(v)),
        "projections": [digits(v @ noise(n, salt)) for salt in SALT_PROJECTIONS],
        "samples": [digits(v[i * (n - 1) // 11]) for i in range(12)],
    }


def is_conv_bias(name):
    return name.startswith("conv") and name.endswith("/bias")


def without_conv_biases(net, vector, bound=1e-12):
    """The vector with 0 for conv biases, after checking that they are 0 but for rounding.

    Batch norm subtracts them again, so their gradient is 0 in exact arithmetic. Rounding noise in its place would
    differ from machine to machine.
    """
    vector = vector.detach().clone()
    largest = vector.abs().max().item()
    for name, piece in net.unpack(vector).items():  # views of the clone
        if is_conv_bias(name):
            if piece.abs().max().item() > bound * largest:
                raise SystemExit(f"{name}: expected 0, got {piece.abs().max().item()}; nothing was written")
            piece.zero_()
    return vector


def leaf_norms(net, vector):
    """Norm of every leaf: tells which leaf is wrong."""
    pieces = net.unpack(without_conv_biases(net, vector))
    return {name: digits(piece.norm()) for name, piece in pieces.items() if not is_conv_bias(name)}


def reference(net, *, forward_batch, task_sgd_lr=None):
    """All values of one network; the inner loops only where an SGD learning rate is given."""
    phi = net.initial_params()
    x, y = net.data(EXAMPLES if task_sgd_lr else forward_batch)
    first = x[:forward_batch], y[:forward_batch]

    output = net.logits(phi, first[0])
    error = np.abs(output.numpy() - numpy_logits(net, phi, first[0])).max() / output.abs().max().item()
    check("forward pass against NumPy loops", error, 1e-11)
    g = gradient(net, phi, *first)
    check_derivative("gradient", lambda p: net.loss(p, *first).item(), phi, g)

    result = {
        "inputShape": net.input_shape,
        "leaves": {name: shape for name, shape, _ in net.leaves},
        "params": summary(phi),
        "inputs": summary(x),
        "forward": {
            "batch": forward_batch,
            "output": [[digits(value) for value in row] for row in output],
            "loss": digits(net.losses(phi, *first).mean()),
            "lossSum": digits(net.losses(phi, *first).sum()),
            "gradient": summary(without_conv_biases(net, g)),
            "gradientLeafNorms": leaf_norms(net, g),
        },
    }
    if not task_sgd_lr:
        return result

    batches = [(x[indices], y[indices]) for indices in BATCHES]
    joint = sum(gradient(net, phi, *batch) for batch in batches)
    task = {"joint": summary(without_conv_biases(net, joint))}
    optimizers = {
        "sgd": Sgd(task_sgd_lr),
        "adamCarried": Adam(1e-3, carried=True),
        "adamReset": Adam(1e-3, carried=False),
    }
    for name, optimizer in optimizers.items():
        state = optimizer.start(net.size)
        # From v = 0 Adam enlarges rounding noise in the conv biases: g / (sqrt(v) + eps) with g and v near 0.
        bound = 1e-7 if name == "adamReset" else 1e-12
        trajectory, end, gradients, losses = inner_loop(net, optimizer, phi, state, batches)
        values = {
            "lr": optimizer.lr,
            "losses": [digits(loss) for loss in losses],
            "reptile": summary(without_conv_biases(net, trajectory[-1] - phi, bound)),
            "fomamlStep": summary(without_conv_biases(net, trajectory[-1] - trajectory[-2], bound)),
            "fomamlGradient": summary(without_conv_biases(net, gradients[-1])),
        }
        if isinstance(optimizer, Sgd):
            error = (trajectory[-1] - phi + optimizer.lr * sum(gradients)).norm() / (trajectory[-1] - phi).norm()
            check("Reptile with SGD is -lr times the sum of gradients", error.item(), 1e-12)
        else:
            moments = end[0] if optimizer.carried else without_conv_biases(net, end[0])
            values["secondMoments"] = summary(moments)
            values["stepsTaken"] = end[1]
        # From v = 0 the first Adam step is nearly lr * sign(g): MAML is left out there, its gradient is useless.
        if name != "adamReset":
            maml = maml_gradient(net, optimizer, phi, state, batches)
            check_derivative(
                f"MAML gradient, {name}", lambda p: maml_loss(net, optimizer, p, state, batches), phi, maml
            )
            values["maml"] = summary(without_conv_biases(net, maml))
            values["mamlLeafNorms"] = leaf_norms(net, maml)
        task[name] = values
    result["task"] = task
    return result


NOTES = [
    "noise(n, salt)[i], modulo 2^32: h = i*2654435761 + salt*40503 + 0x9E3779B9; h ^= h>>16; h *= 0x85EBCA6B; "
    "h ^= h>>13; h *= 0xC2B2AE35; h ^= h>>16; value = h/2^31 - 1.",
    "summary of a vector v of length n: norm = |v|; projections[j] = v . noise(n, 900+j); "
    "samples[i] = v[floor(i*(n-1)/11)], i = 0..11.",
    "params: leaves concatenated in the order of `leaves` (name: shape), row-major; leaf number s (from 1) is "
    "a*noise(size, s) for weights and filters, a = sqrt(6/(fanIn+fanOut)), fans of a filter counting its 9 taps; "
    "0.1*noise for bias and shift; 1 + 0.1*noise for scale.",
    "images: (noise(count*H*W*C, 100) + 1)/2 as [count, H, W, C]; labels i mod 5. Sine: x = 5*noise(count, 100), "
    "y = 2*noise(count, 101). count = 50 where there is a task, else forward.batch; the forward check takes the first "
    "forward.batch examples.",
    "Loss: mean over the mini-batch of softmax cross-entropy, or of squared error for sine. All gradients are of the "
    "mean; that of the sum is the batch size times it.",
    "task: one inner step for each of `batches`, phi_0 = params, ..., phi_5. losses[j] = loss of batch j at phi_j; "
    "reptile = phi_5 - phi_0; fomamlStep = phi_5 - phi_4; fomamlGradient = gradient of batch 4 at phi_4; maml = "
    "d/dphi_0 of the loss of batch 4 at phi_4 (through second moments too); joint = sum over batches of the gradient "
    "at phi_0.",
    "Adam: beta1 = 0, v = 0.999*v + 0.001*g^2, theta -= lr*sqrt(1 - 0.999^t)*g/(sqrt(v) + 1e-8). adamCarried starts "
    "from v = (0.01*(noise(P, 500) + 1.5))^2 after 7 steps (its first step has t = 8); adamReset from v = 0, t = 0. "
    "secondMoments = v after 5 steps.",
    "A conv bias before batch norm has gradient exactly 0 and does not move, and 0 is written here (only its carried "
    "second moment decays). In practice it gets rounding noise, which Adam from v = 0 enlarges: with float32, set the "
    "conv biases of adamReset.reptile and adamReset.fomamlStep to 0 before comparing. Elsewhere it does not matter.",
]

OMNIGLOT = dict(size=28, channels=1, ways=5, pool=False)
MINI_IMAGENET = dict(channels=3, ways=5, pool=True)
NETWORKS = {
    "sine": (SineNet(), dict(forward_batch=BATCH, task_sgd_lr=0.02)),
    "omniglotSmall": (ConvNet(**OMNIGLOT, filters=8), dict(forward_batch=BATCH, task_sgd_lr=0.05)),
    # 21 -> 11 -> 6 -> 3 -> 2 meets odd sizes twice, so that pooling pads.
    "miniImagenetSmall": (ConvNet(**MINI_IMAGENET, size=21, filters=8), dict(forward_batch=BATCH, task_sgd_lr=0.05)),
    "omniglot": (ConvNet(**OMNIGLOT, filters=64), dict(forward_batch=BATCH, task_sgd_lr=0.05)),
    "miniImagenet": (ConvNet(**MINI_IMAGENET, size=84, filters=32), dict(forward_batch=2)),
}


def main():
    parser = argparse.ArgumentParser(description="Write meta_gradients.json beside this script.")
    parser.add_argument("--quick", action="store_true", help="the small networks only; write nothing")
    quick = parser.parse_args().quick

    result = {
        "script": "test/reference/meta_gradients.py",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "notes": NOTES,
        "noise": {str(salt): [digits(v) for v in noise(4, salt)] for salt in (1, 2, SALT_INPUT, SALT_PROJECTIONS[0])},
        "batches": BATCHES,
        "networks": {},
    }
    for name, (net, options) in NETWORKS.items():
        if quick and name in ("omniglot", "miniImagenet"):
            continue
        print(f"{name}: {net.size} parameters", flush=True)
        start = time.time()
        result["networks"][name] = reference(net, **options)
        print(f"  {time.time() - start:.1f} s")
    if quick:
        return

    # A list of numbers on one line, so that changed values are a readable diff.
    text = json.dumps(result, indent=1)
    text = re.sub(r"\[\s+([-+.e\d,\s]+?)\s+\]", lambda m: "[" + re.sub(r",\s+", ", ", m[1]) + "]", text) + "\n"
    path = Path(__file__).with_suffix(".json")
    path.write_text(text)
    print(f"{path.name}: {len(text)} bytes")


if __name__ == "__main__":
    main()
