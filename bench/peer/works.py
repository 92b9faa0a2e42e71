"""The works that are measured. Each is made from a description that ours sends, in one of several settings.

`settings` lists what is tried at the start on the machine at hand; `trial` is a short piece of the work, to
choose by; `run` does the work once and returns how many units of it were done; `check` returns numbers that
ours must agree with.
"""
import base64
import random

import torch

from networks import ADAM_EPSILON, BETA2, ConvNet, Mlp, Stepper

NETWORKS = {
    "omniglot": {"side": 28, "channels": 1, "filters": 64, "pool": False},
    "mini-imagenet": {"side": 84, "channels": 3, "filters": 32, "pool": True},
}


def vector(text, dtype=torch.float32):
    """Numbers that ours sends; of floating point in the precision that is computed in."""
    values = torch.frombuffer(bytearray(base64.b64decode(text)), dtype=dtype)
    return values.to(torch.get_default_dtype()) if dtype.is_floating_point else values


def network(work, **options):
    if work["network"] == "sine":
        return Mlp()
    return ConvNet(**NETWORKS[work["network"]], ways=work["ways"], **options)


def formats(work):
    return [{}] if work["network"] == "sine" else [{"channels_last": False}, {"channels_last": True}]


def step_settings(work):
    return [{"style": style, "net": net} for net in formats(work) for style in Stepper.STYLES]


class Work:
    def __init__(self, work, settings):
        self.work = work
        self.net = network(work, **settings["net"])
        self.initial = self.net.from_ours(vector(work["parameters"]))
        if "style" in settings:
            self.stepper = Stepper(
                self.net, optimizer=work["optimizer"], rate=work["learningRate"], style=settings["style"]
            )

    def warm(self):
        """What ours starts from: with no moments at all a first step of Adam is as large for a gradient of
        rounding errors as for any other, and nothing could be compared."""
        return {"moments": self.work["secondMoments"], "steps": self.work["momentSteps"]}

    def batches(self):
        """The mini-batches that ours sends: inputs [steps, batch, ...], targets [steps, batch, ...]."""
        steps, batch = self.work["steps"], self.work["batch"]
        inputs, labels = vector(self.work["inputs"]), self.work["network"] != "sine"
        targets = vector(self.work["targets"], torch.int32 if labels else torch.float32)
        shape = self.net.input_shape if labels else (1,)
        inputs = self.net.mirrored(inputs.view(steps * batch, *shape))
        targets = targets.long() if labels else targets.view(-1, 1)
        starts = range(0, steps * batch, batch)
        return [(self.net.batch(inputs[i : i + batch]), targets[i : i + batch]) for i in starts]


class InnerLoop(Work):
    """Inner steps from the initial parameters on given mini-batches; a unit is a step."""

    settings = staticmethod(step_settings)

    def __init__(self, work, settings):
        super().__init__(work, settings)
        self.given = self.batches()

    def run(self):
        self.stepper.start(self.initial)
        total = torch.zeros(())
        for x, y in self.given:
            total += self.stepper.step(x, y)
        self.loss = total.item()
        return len(self.given)

    trial = run

    def check(self):
        self.stepper.reset(**self.warm())
        losses = []
        self.stepper.start(self.initial)
        for x, y in self.given:
            losses.append(self.stepper.step(x, y).item())
        distance = (self.stepper.flat - self.initial).norm().item()
        return {"loss": sum(losses) / len(losses), "distance": distance}


class MamlGradient(Work):
    """The gradient of the loss on the last mini-batch through Adam's steps on the others; a unit is a gradient."""

    @staticmethod
    def settings(work):
        norms = ({**net, "own_norm": own} for net in formats(work) for own in (False, True))
        return [{"net": net, "flat": flat} for net in norms for flat in (False, True)]

    def __init__(self, work, settings):
        super().__init__(work, settings)
        self.flat = settings["flat"]
        self.given = self.batches()
        self.moments = torch.full_like(self.initial, work["secondMoments"])

    def loss_at(self, parameters, x, y):
        leaves = self.net.views(parameters[0]) if self.flat else parameters
        return self.net.loss(self.net.forward(leaves, x), y)

    def run(self):
        split = (lambda flat: [flat]) if self.flat else self.net.views
        initial = [part.detach().requires_grad_() for part in split(self.initial)]
        moments, weight, rate = split(self.moments), 1 - BETA2 ** self.work["momentSteps"], self.work["learningRate"]
        parameters, total = initial, 0.0
        for x, y in self.given[:-1]:
            loss = self.loss_at(parameters, x, y)
            total += loss.detach()
            gradients = torch.autograd.grad(loss, parameters, create_graph=True)
            weight = weight * BETA2 + (1 - BETA2)
            scale = rate * weight**0.5
            moments = [v * BETA2 + (1 - BETA2) * g * g for v, g in zip(moments, gradients)]
            parameters = [
                torch.addcdiv(p, g, v.sqrt() + ADAM_EPSILON, value=-scale)
                for p, g, v in zip(parameters, gradients, moments)
            ]
        loss = self.loss_at(parameters, *self.given[-1])
        gradients = torch.autograd.grad(loss, initial)
        self.gradient = gradients[0] if self.flat else self.net.flatten(gradients)
        self.loss = (total + loss.detach()).item() / len(self.given)
        return 1

    trial = run

    def check(self):
        self.run()
        return {"loss": self.loss, "norm": self.gradient.norm().item()}


class Tasks:
    """Few-shot tasks from images in memory, uint8 [classes, 20, 28, 28, 1]."""

    def __init__(self, net, work, *, rotations):
        self.net, self.ways = net, work["ways"]
        side = net.input_shape[0]
        pixels = torch.from_file(work["images"], size=work["classes"] * 20 * side * side, dtype=torch.uint8)
        images = pixels.view(work["classes"] * 20, side, side)
        turned = [torch.rot90(images, turns, (1, 2)) for turns in range(4 if rotations else 1)]
        self.images = net.mirrored(torch.cat(turned).unsqueeze(-1)).contiguous()
        self.classes = len(self.images) // 20

    def sample(self, support, query=0):
        """images [examples, side, side, 1] and labels of the support set, then of the query set"""
        chosen = [
            [c * 20 + i for i in random.sample(range(20), support + query)]
            for c in random.sample(range(self.classes), self.ways)
        ]
        parts = [[row[i] for row in chosen for i in range(support)]]
        parts.append([row[i] for row in chosen for i in range(support, support + query)])
        labels = torch.arange(self.ways)
        images = self.images.index_select(0, torch.tensor(parts[0] + parts[1])).to(torch.get_default_dtype())
        cut = len(parts[0])
        return (images[:cut], labels.repeat_interleave(support)), (
            images[cut:],
            labels.repeat_interleave(query),
        )


def cycling(net, x, y, batch, steps):
    """Mini-batches by shuffling, walking through and shuffling again."""
    count = len(y)
    passes = -(-batch * steps // count)
    order = torch.cat([torch.randperm(count) for _ in range(passes)])
    for i in range(0, batch * steps, batch):
        chosen = order[i : i + batch]
        yield net.batch(x.index_select(0, chosen)), y.index_select(0, chosen)


class MetaIteration(Work):
    """Reptile: tasks are drawn, adapted to one after another, and their mean moves the initialization; Adam's
    moments carry over. A unit is a meta-iteration."""

    settings = staticmethod(step_settings)

    def __init__(self, work, settings):
        super().__init__(work, settings)
        self.tasks = Tasks(self.net, work, rotations=True)
        self.direction = torch.zeros_like(self.initial)

    def adapt(self):
        (x, y), _ = self.tasks.sample(self.work["trainShots"])
        self.stepper.start(self.initial)
        for batch in cycling(self.net, x, y, self.work["batch"], self.work["steps"]):
            self.total += self.stepper.step(*batch)

    def trial(self):
        self.total = torch.zeros(())
        self.adapt()

    def run(self):
        metaBatch = self.work["metaBatch"]
        self.total = torch.zeros(())
        self.direction.zero_()
        for _ in range(metaBatch):
            self.adapt()
            self.direction += self.stepper.flat
        with torch.no_grad():
            self.initial.lerp_(self.direction.div_(metaBatch), self.work["metaStep"])
        self.loss = self.total.item()
        return 1


class Evaluation(Work):
    """Tasks of unseen classes, each adapted to from the initialization, its queries classified. A unit is a task."""

    settings = staticmethod(step_settings)

    def __init__(self, work, settings):
        super().__init__(work, settings)
        self.tasks = Tasks(self.net, work, rotations=False)

    def adapt(self, x, y, steps, batch):
        self.stepper.reset(**self.warm())
        self.stepper.start(self.initial)
        for examples in cycling(self.net, x, y, batch, steps):
            self.stepper.step(*examples)

    def predict(self, x, queries):
        """logits [queries, ways]: all queries in one batch, or each beside the support set"""
        with torch.no_grad():
            if self.work["transductive"]:
                return self.net.forward(self.stepper.leaves, self.net.batch(queries))
            singly = (self.net.batch(torch.cat((x, query.unsqueeze(0)))) for query in queries)
            return torch.stack([self.net.forward(self.stepper.leaves, batch)[-1] for batch in singly])

    def trial(self):
        (x, y), _ = self.tasks.sample(self.work["shots"])
        self.adapt(x, y, 10, self.work["batch"])

    def run(self):
        (x, y), (queries, labels) = self.tasks.sample(self.work["shots"], 1)
        self.adapt(x, y, self.work["steps"], self.work["batch"])
        self.accuracy = (self.predict(x, queries).argmax(1) == labels).float().mean().item()
        return 1

    def check(self):
        """Some steps on all of a given task's support set: the logits of its queries."""
        given = self.work["check"]
        support, queries = (
            self.net.mirrored(vector(given[name]).view(-1, *self.net.input_shape)) for name in ("support", "queries")
        )
        labels = torch.arange(self.work["ways"]).repeat_interleave(self.work["shots"])
        self.adapt(support, labels, given["steps"], len(support))
        return {"logits": self.predict(support, queries).flatten().tolist()}


WORKS = {
    "inner-loop": InnerLoop,
    "maml-gradient": MamlGradient,
    "meta-iteration": MetaIteration,
    "evaluation": Evaluation,
}
