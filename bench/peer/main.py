"""The peer: the works of the benchmark in PyTorch, told what to do by lines of JSON, answering in lines of JSON.

    {"do": "describe"}                                -> versions, threads, the BLAS that is loaded
    {"do": "prepare", "work": {...}}                  -> settings and how fast each is; the fastest is kept
    {"do": "prepare", "work": {...}, "settings": ...} -> the same with settings chosen elsewhere
    {"do": "check"}                                   -> numbers to compare
    {"do": "sample", "seconds": s, "at": epoch}       -> units done and the seconds they took, from `at` on
    {"do": "forget"}                                  -> frees the work

Started with the number of threads: main.py 1
"""
import json
import os
import platform
import statistics
import sys
import time

import torch

from works import WORKS

THREADS = int(sys.argv[1])
torch.set_num_threads(THREADS)
torch.set_flush_denormal(True)
torch.manual_seed(0)


def loaded_blas():
    """Files of the BLAS that the matrix products go to. Debian's PyTorch takes whatever libblas.so.3 is."""
    with open("/proc/self/maps", encoding="utf8") as maps:
        files = {line.split()[-1] for line in maps if "blas" in line or "mkl_" in line}
    return sorted(os.path.realpath(file) for file in files)


def product_speed(n=512):
    """GFLOP/s of a matrix product, the best of five."""
    a, times = torch.rand(n, n), []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2e-9 * n**3 / min(times)


def describe():
    speed = product_speed()  # it also loads what is loaded late
    capability = torch.__config__.show().split("CPU capability usage: ")[-1].split("\n")[0]
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "blas": loaded_blas(),
        "productSpeed": speed,
        "oneDnn": torch.backends.mkldnn.is_available(),
        "capability": capability,
    }


def seconds_per_trial(work, seconds=0.15):
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        work.trial()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def prepare(description, chosen=None):
    """The work in the fastest of its settings; each is tried twice, in turns, and its better time counts."""
    kind = WORKS[description["kind"]]
    if chosen is not None:
        return kind(description, chosen), chosen, []
    candidates = [(settings, kind(description, settings)) for settings in kind.settings(description)]
    for _, work in candidates:
        work.trial()
    best = [min(rounds) for rounds in zip(*([seconds_per_trial(w) for _, w in candidates] for _ in range(2)))]
    tried = [{"settings": s, "ms": 1000 * t} for (s, _), t in zip(candidates, best)]
    fastest = min(range(len(best)), key=best.__getitem__)
    settings = candidates[fastest][0]
    return kind(description, settings), settings, sorted(tried, key=lambda entry: entry["ms"])


def check(description, settings):
    """Numbers to compare, in double precision: in single precision rounding alone makes some ReLU or maximum
    choose otherwise, and after some steps that shows in the third digit."""
    torch.set_default_dtype(torch.float64)
    try:
        return WORKS[description["kind"]](description, settings).check()
    finally:
        torch.set_default_dtype(torch.float32)


def sample(work, seconds, at):
    while time.time() < at:  # a common start for several processes
        pass
    start = time.perf_counter()
    units, elapsed = 0, 0.0
    while elapsed < seconds:
        units += work.run()
        elapsed = time.perf_counter() - start
    return {"units": units, "seconds": elapsed}


def main():
    work = None
    for line in sys.stdin:
        request = json.loads(line)
        todo = request["do"]
        if todo == "describe":
            answer = describe()
        elif todo == "prepare":
            work, settings, tried = prepare(request["work"], request.get("settings"))
            answer = {"tried": tried}
        elif todo == "check":
            answer = check(work.work, settings)
        elif todo == "sample":
            answer = sample(work, request["seconds"], request.get("at", 0))
        elif todo == "forget":
            work, answer = None, {}
        else:
            raise ValueError(f"unknown request {todo}")
        print(json.dumps(answer), flush=True)


main()
