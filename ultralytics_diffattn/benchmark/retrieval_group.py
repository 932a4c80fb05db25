# Ultralytics DiffAttn - AGPL-3.0 License
"""The group that lets blocks of every kind read marked tokens, over seeds, noise and numbers of tokens."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

import torch
from ultralytics.utils import LOGGER

from ultralytics_diffattn.benchmark import targets
from ultralytics_diffattn.benchmark.results import Group, Reading
from ultralytics_diffattn.benchmark.retrieval import VARIANTS, Read, read
from ultralytics_diffattn.benchmark.rows import Setting
from ultralytics_diffattn.output.formatting import duration


def retrieval(setting: Setting) -> Group:
    """Return how well each variant reads, trained and tested with one thread each on all cores.

    Args:
        setting (Setting): The user's choices; `repeats` is the number of seeds.

    Returns:
        (Group): `retrieval`, and no rows.
    """
    seeds = range(setting.repeats or targets.SEEDS)
    jobs = [(variant, noise, seed) for seed in seeds for noise in targets.NOISE for variant in VARIANTS]
    sizes = targets.TOKENS, targets.STEPS, targets.MAPS
    reads: list[Read] = []
    start = time.perf_counter()
    spawn = multiprocessing.get_context("spawn")  # a fork would have the locks of this process' threads
    with ProcessPoolExecutor(os.cpu_count(), spawn, torch.set_num_threads, (1,)) as pool:
        futures = [pool.submit(read, *job, *sizes) for job in jobs]
        for done, future in enumerate(as_completed(futures), 1):
            reads += future.result()
            if done % len(VARIANTS) == 0:
                left = (time.perf_counter() - start) / done * (len(jobs) - done)
                LOGGER.info(f"retrieval: {done} of {len(jobs)} blocks trained, about {duration(left)} left")
    reads.sort(key=lambda r: (r.noise, r.tokens, list(VARIANTS).index(r.variant), r.seed))
    return {"rows": [], "retrieval": [Reading(**r._asdict()) for r in reads]}  # type: ignore[typeddict-item]
