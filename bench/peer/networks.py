"""The networks in PyTorch, and an inner step on them in several styles, of which the fastest is used.

All parameters lie in one flat tensor and the leaves are views of it, so that copying a whole network is one
copy. Ours arrive as the flat vector of the same leaves; `from_ours` brings them into PyTorch's layout.

Ours pads as TensorFlow's SAME does: with stride 2 and an even side one pixel at the far end. PyTorch's padding=1
puts it at the near end. Mirroring images, filters and features turns the one into the other, so the peer
needs no padding of its own and computes the same numbers.
"""
import math

import torch
import torch.nn.functional as F

NORM_EPSILON = 1e-3
BETA2, ADAM_EPSILON = 0.999, 1e-8


class ConvNet:
    """[3x3 convolution, batch norm, (max-pool,) ReLU] x 4, dense. x: [batch, channels, side, side]"""

    def __init__(self, *, side, channels, filters, ways, pool, channels_last=False, own_norm=False):
        self.pool, self.channels_last, self.own_norm = pool, channels_last, own_norm
        self.input_shape = (side, side, channels)
        self.stride = 1 if pool else 2
        self.shapes, depth = [], channels
        for _ in range(4):
            self.shapes += [(filters, depth, 3, 3), (filters,), (filters,)]
            depth, side = filters, math.ceil(side / 2)
        self.features = (side, side, filters)
        self.shapes += [(ways, side * side * filters), (ways,)]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.loss = F.cross_entropy

    def mirrored(self, images):
        """[batch, side, side, channels], mirrored with stride 2"""
        return images if self.pool else images.flip(1, 2)

    def batch(self, images):
        """[batch, side, side, channels] -> [batch, channels, side, side] in the memory format of the network"""
        count, side, _, channels = images.shape
        if self.channels_last:
            return images.permute(0, 3, 1, 2)  # a view; with one channel too its strides say channels-last
        if channels == 1:
            return images.reshape(count, 1, side, side)  # a view whose strides say contiguous
        return images.permute(0, 3, 1, 2).contiguous()

    def views(self, flat):
        """The leaves of a flat [P]; filters [out, in, 3, 3] in the memory format of the network."""
        leaves = []
        for part, shape in zip(torch.split(flat, self.sizes), self.shapes):
            if self.channels_last and len(shape) == 4:
                out, depth, height, width = shape
                leaves.append(part.view(out, height, width, depth).permute(0, 3, 1, 2))
            else:
                leaves.append(part.view(shape))
        return leaves

    def flatten(self, leaves):
        """The inverse of `views`."""
        parts = []
        for leaf in leaves:
            in_order = leaf.permute(0, 2, 3, 1) if self.channels_last and leaf.dim() == 4 else leaf
            parts.append(in_order.reshape(-1))
        return torch.cat(parts)

    def from_ours(self, vector):
        """Our flat vector: filters [3, 3, in, out], scale, shift; dense [height * width * filters, ways]."""
        leaves = []
        for part, shape in zip(torch.split(vector, self.sizes), self.shapes):
            if len(shape) == 4:
                leaf = part.view(3, 3, shape[1], shape[0])
                leaf = leaf if self.pool else leaf.flip(0, 1)
                leaves.append(leaf.permute(3, 2, 0, 1))
            elif len(shape) == 2:
                leaf = part.view(*self.features, shape[0])
                leaf = leaf if self.pool else leaf.flip(0, 1)
                leaves.append(leaf.permute(3, 2, 0, 1).reshape(shape))  # features as [filters, height, width]
            else:
                leaves.append(part)
        return self.flatten(leaves)

    def forward(self, leaves, x):
        for i in range(0, 12, 3):
            x = F.conv2d(x, leaves[i], None, self.stride, 1)
            if self.own_norm:
                variance, mean = torch.var_mean(x, (0, 2, 3), unbiased=False, keepdim=True)
                scale = leaves[i + 1].view(1, -1, 1, 1) * torch.rsqrt(variance + NORM_EPSILON)
                x = (x - mean) * scale + leaves[i + 2].view(1, -1, 1, 1)
            else:
                x = F.batch_norm(x, None, None, leaves[i + 1], leaves[i + 2], True, 0.0, NORM_EPSILON)
            if self.pool:
                x = F.max_pool2d(x, 2, 2, 0, ceil_mode=True)
            x = F.relu_(x)
        if self.channels_last:
            x = x.contiguous()
        return F.linear(x.flatten(1), leaves[12], leaves[13])


class Mlp:
    """1 -> 64 -> 64 -> 1 with tanh, weights [in, out]. x: [batch, 1]"""

    def __init__(self):
        self.shapes = [(1, 64), (64,), (64, 64), (64,), (64, 1), (1,)]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.loss = F.mse_loss

    def mirrored(self, points):
        return points

    def batch(self, points):
        return points

    def views(self, flat):
        return [part.view(shape) for part, shape in zip(torch.split(flat, self.sizes), self.shapes)]

    def flatten(self, leaves):
        return torch.cat([leaf.reshape(-1) for leaf in leaves])

    def from_ours(self, vector):
        return vector.clone()

    def forward(self, leaves, x):
        w1, b1, w2, b2, w3, b3 = leaves
        h = torch.tanh(torch.addmm(b1, x, w1))
        return torch.addmm(b3, torch.tanh(torch.addmm(b2, h, w2)), w3)


class Stepper:
    """Inner steps in place: forward, backward, optimizer.

    style: `optim` and `optim-foreach` are PyTorch's optimizers, gradients set to None before every step;
    `flat` gathers the gradients into one vector and updates all parameters at once; `flat-views` has them
    accumulated there by autograd. The hand-written Adam leaves out the first moments, since beta1 = 0.
    """

    STYLES = ("optim", "optim-foreach", "flat", "flat-views")

    def __init__(self, net, *, optimizer, rate, style):
        self.net, self.kind, self.rate, self.style = net, optimizer, rate, style
        self.flat = torch.zeros(sum(net.sizes))
        self.leaves = [leaf.detach().requires_grad_() for leaf in net.views(self.flat)]
        self.moments = torch.zeros_like(self.flat)
        self.scratch = torch.empty_like(self.flat)
        self.optimizer = None
        if style.startswith("optim"):
            foreach = style == "optim-foreach"
            if optimizer == "adam":
                betas = (0.0, BETA2)
                self.optimizer = torch.optim.Adam(self.leaves, rate, betas, ADAM_EPSILON, foreach=foreach)
            else:
                self.optimizer = torch.optim.SGD(self.leaves, rate, foreach=foreach)
        if style == "flat-views":
            self.gradient = torch.zeros_like(self.flat)
            for leaf, view in zip(self.leaves, net.views(self.gradient)):
                leaf.grad = view
        self.reset()

    def reset(self, moments=0.0, steps=0):
        """Adam's state as if `steps` steps were taken and left second moments of `moments` everywhere."""
        self.moments.fill_(moments)
        self.weight = 1 - BETA2**steps
        if self.optimizer is None:
            return
        self.optimizer.state.clear()
        if steps > 0 and self.kind == "adam":
            for leaf in self.leaves:
                self.optimizer.state[leaf] = {
                    "step": torch.tensor(float(steps)),
                    "exp_avg": torch.zeros_like(leaf),
                    "exp_avg_sq": torch.full_like(leaf, moments),
                }

    def start(self, parameters):
        """Starts from a flat [P] in the peer's layout."""
        with torch.no_grad():
            self.flat.copy_(parameters)

    def step(self, x, y):
        """Returns the loss before the step, detached."""
        if self.optimizer is not None:
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.net.loss(self.net.forward(self.leaves, x), y)
            loss.backward()
            self.optimizer.step()
            return loss.detach()
        if self.style == "flat-views":
            self.gradient.zero_()
            loss = self.net.loss(self.net.forward(self.leaves, x), y)
            loss.backward()
            gradient = self.gradient
        else:
            loss = self.net.loss(self.net.forward(self.leaves, x), y)
            gradient = self.net.flatten(torch.autograd.grad(loss, self.leaves))
        with torch.no_grad():
            if self.kind == "sgd":
                self.flat.add_(gradient, alpha=-self.rate)
            else:  # TensorFlow's form, as ours
                self.weight = self.weight * BETA2 + (1 - BETA2)
                self.moments.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
                torch.sqrt(self.moments, out=self.scratch).add_(ADAM_EPSILON)
                self.flat.addcdiv_(gradient, self.scratch, value=-self.rate * math.sqrt(self.weight))
        return loss.detach()
