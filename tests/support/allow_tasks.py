"""A package of tasks as a team writes one, with ways out of it; the tests write it under several names."""

import functools
import os
import subprocess
from os import system

import requests


def load(x: int = 1) -> int:
    return x + 1


@functools.lru_cache
def cached() -> int:
    return 1


class Loader:
    def __call__(self) -> int:
        return 2

    def run(self) -> int:
        return 3


class Shell(subprocess.Popen):
    """Defined here, and most of what it does is not."""


loader = Loader()
bound = loader.run
part = functools.partial(load, 4)
outer_part = functools.partial(os.system, "true")
session = requests.Session()
alias = system
numbers = [1]
