"""One inner step of the Omniglot network in PyTorch: forward, backward, Adam with beta1 = 0, batch 10.

    /usr/bin/python3 bench/torch_step.py [threads]      (Debian's python3-torch)

Prints the median and the fastest of 500 steps on one fixed batch, after 50 to warm up.
"""
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
torch.manual_seed(0)

layers, channels = [], 1
for _ in range(4):
    layers += [
        nn.Conv2d(channels, 64, 3, stride=2, padding=1),
        nn.BatchNorm2d(64, eps=1e-3, track_running_stats=False),
        nn.ReLU(),
    ]
    channels = 64
network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 5))
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0, 0.999))
images, labels = torch.rand(10, 1, 28, 28), torch.arange(10) % 5

times = []
for _ in range(550):
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    F.cross_entropy(network(images), labels).backward()
    optimizer.step()
    times.append(1000 * (time.perf_counter() - start))
times = sorted(times[50:])
print(
    f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads: "
    f"{times[250]:.2f} ms a step (fastest {times[0]:.2f}), {1000 / times[250]:.0f} a second"
)
