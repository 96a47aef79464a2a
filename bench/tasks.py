"""Tasks of the measurements; a copy lies in the folder in which workers are started, as ``bench_tasks``."""

import os
import time


def nap():
    time.sleep(3)


def until_cancelled(ctx):
    while not ctx.is_cancelled:
        time.sleep(0.005)


def until_told(path):
    while not os.path.exists(path):
        time.sleep(0.005)
