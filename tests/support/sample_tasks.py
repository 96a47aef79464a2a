"""Tasks for the tests of workers; copied into the folder in which a worker is started, and imported from there.

A relative file name is taken in that folder: the working directory of a run is its own. They stand in one file, longer
than others, so that one copy brings all of them.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

HOME = Path(__file__).parent
_PATIENCE_SEC = 60.0


def _wait_for(name):
    deadline = time.monotonic() + _PATIENCE_SEC
    while not (HOME / name).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} did not come")
        time.sleep(0.01)


def _note(name, text):
    # In one piece: a test that sees the file sees all of it.
    (HOME / f"{name}.part").write_text(str(text))
    (HOME / f"{name}.part").rename(HOME / name)


# -- ordinary ones


def quick():
    return os.getpid()


def echo(value):
    return value


def echo_all(value0, value1, value2, value3, value4):
    return [value0, value1, value2, value3, value4]


def after(quick):
    return "later"


def cwd():
    return os.getcwd()


def fail():
    raise ValueError("the disk is on fire")


def need_file(name):
    """Fail unless a file is there."""
    if not (HOME / name).exists():
        raise ValueError(f"{name} is not there")
    return name


def fail_until(name, times):
    """Fail so many times, then say how often this was called."""
    count = _note_begin(name)
    if count <= times:
        raise ValueError(f"not yet: {count}")
    return count


def die_once(name):
    if _note_begin(name) == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def one(name):
    """Give a result that JSON carries; all of these note who has begun."""
    _note_begin(f"{name}.one")
    return {"value": 1}


def two(name, one):
    _note_begin(f"{name}.two")
    return one["value"] + 1 if isinstance(one, dict) else len(str(one))


def pair(name):
    _note_begin(f"{name}.one")
    return (1, 2)


def with_file(name):
    _note_begin(f"{name}.one")
    Path("data").write_text("x")
    return 1


def with_folder(name):
    _note_begin(f"{name}.one")
    Path("for_later").mkdir()
    return 1


def with_link(name):
    _note_begin(f"{name}.one")
    Path("home").symlink_to(Path.home(), target_is_directory=True)
    return 1


def with_context(name, ctx):
    _note_begin(f"{name}.one")
    ctx.set_var("x", 1)
    return 1


def deep(name):
    """Give a list that is nested more deeply than a record shows as it is."""
    _note_begin(f"{name}.one")
    return functools.reduce(lambda inner, _: [inner], range(150), "inside")


def long_number(name):
    """Give a number that JSON could carry and Python does not write down."""
    _note_begin(f"{name}.one")
    return 1 << 100_000


def much(name):
    _note_begin(f"{name}.one")
    return "x" * 400_000


def after_file(name):
    """End when the output of a task beside this one has been written to a file."""
    _note_begin(f"{name}.after_file")
    deadline = time.monotonic() + _PATIENCE_SEC
    while not list(Path("artifacts").rglob("output.txt")) and time.monotonic() < deadline:
        time.sleep(0.01)
    return 1


def hold(name="go"):
    """Go on when a file is there; note who has begun."""
    _note_begin(name)
    _wait_for(name)
    return os.getpid()


def hold_in_program(name="go"):
    """The same in a process that the task starts; it leaves ``name.program``."""
    words = ("import sys; sys.path.insert(0, sys.argv[1]); from sample_tasks import _note, _wait_for",)
    words += ("_note(sys.argv[2] + '.program', 'begun')", "_wait_for(sys.argv[2])")
    subprocess.run([sys.executable, "-c", "; ".join(words), str(HOME), name], check=True)


def after_hold(name, hold):
    _note(f"{name}.after", hold)


def hold_each(name):
    """Go on when the file of this execution is there: ``name.1`` for the first one."""
    _wait_for(f"{name}.{_note_begin(name)}")
    return os.getpid()


def _note_begin(name):
    """Note who has begun, and say how many have."""
    path = HOME / f"{name}.begun"
    with path.open("a") as begun:
        begun.write(f"{os.getpid()}\n")
    return len(path.read_text().split())


def left():
    _note("left-is-there", "x")
    _wait_for("right-is-there")
    return "left"


def right():
    _note("right-is-there", "x")
    _wait_for("left-is-there")
    return "right"


def until_cancelled(ctx):
    _note("waits-for-cancel", "x")
    deadline = time.monotonic() + _PATIENCE_SEC
    while not ctx.is_cancelled:
        if time.monotonic() > deadline:
            raise TimeoutError("no cancel came")
        time.sleep(0.01)
    return "stopped in order"


# -- ends that are none


def exit_at_once():
    os._exit(7)


def exit_in_order():
    sys.exit("enough")


def segfault():
    ctypes.string_at(0)


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def out_of_memory():
    raise MemoryError("no room for 9 GB")


class _Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


def raise_unspeakable():
    raise _Unspeakable


def raise_much():
    raise ValueError("x" * 3_000_000)


def _sleep_long():
    time.sleep(600)


def die_with_grandchildren():
    """Leave a program and a fork of this process behind; the fork holds all our descriptors open."""
    program = subprocess.Popen(["sleep", "600"])
    fork = multiprocessing.get_context("fork").Process(target=_sleep_long)
    fork.start()
    _note("grandchildren", f"{program.pid} {fork.pid}")
    os.kill(os.getpid(), signal.SIGKILL)


def hold_then_fail(name):
    hold(name)
    fail()


def hold_then_die(name):
    hold(name)
    kill_itself()


def end_soon(name):
    """Have the kernel end this process a moment after the run is over."""
    hold(name)
    signal.setitimer(signal.ITIMER_REAL, 0.3)


def corrupt_events():
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b'{"type": "Ended", "status"\n[]\n')
        except OSError:
            pass
    time.sleep(600)


# -- what is left behind


def leave_thread():
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    return os.getpid()


def leave_process():
    process = subprocess.Popen(["sleep", "600"])
    return [os.getpid(), process.pid]


# -- output


def leave_orphan():
    """Leave a process in a session of its own that ends a moment later, and tell its id."""
    words = "import os, time; os.setsid(); time.sleep(1)"
    shell = f'"{sys.executable}" -c "{words}" & echo $!'
    _note("orphan", subprocess.run(shell, shell=True, stdout=subprocess.PIPE, check=True).stdout.decode())


def print_everything():
    print("from print")
    print("to stderr", file=sys.stderr)
    logging.getLogger("mine").warning("from logging")
    os.write(1, b"from os.write\n")
    subprocess.run([sys.executable, "-c", "print('from a program')"], check=True)
    sys.stdout.buffer.write("from buffer: grün\n".encode())
    os.write(2, b"broken \xff\xfe utf-8\n")
    print("surrogate \ud800 alone")
    print("no newline at the end", end="")
    os.write(1, b"raw without newline")


def print_by_c():
    """What C code prints stands in a buffer of its own where nobody has taken that away."""
    ctypes.CDLL(None).printf(b"from C\n")
    print("after C")


def log_at_levels():
    logging.getLogger("mine").debug("too small")
    logging.getLogger("mine").info("info")
    logging.getLogger("mine").error("error")


def show_progress():
    for percent in range(0, 101, 10):
        print(f"\r{percent} %", end="", file=sys.stderr)
    print(file=sys.stderr)


def print_half_a_line(name):
    print("half a", end="")
    hold(name)
    print(" line")


def print_and_hold(name):
    for number in range(1000):
        print(f"line {number}")
    hold(name)


def print_times():
    """Print the time, again and again, until something ends it."""
    while True:
        print(f"at {time.time():.3f}")
        time.sleep(0.01)


def print_and_fail():
    for number in range(1000):
        print(f"line {number}")
    raise ValueError("on purpose")


def print_and_exit():
    print("last words")
    os._exit(3)


def print_a_gigabyte():
    line = b"g" * 99 + b"\n"
    for _ in range(10_000):
        os.write(1, line * 1_000)
    print("the end")


def print_in_thread():
    thread = threading.Thread(target=print, args=("from a thread",))
    thread.start()
    thread.join()


def print_side_a():
    for number in range(50):
        print(f"a{number}")
    _note("printed-side-a", "done")


def print_on_and_on():
    """Print until the end of the process or of the patience."""
    deadline = time.monotonic() + _PATIENCE_SEC
    while time.monotonic() < deadline:
        print("on and on", flush=True)
        time.sleep(0.002)


def print_side_b():
    for number in range(50):
        print(f"b{number}")


def print_much():
    print("m" * 5_000_000)
    os.write(1, b"w" * 100_000 + b"\n")
    return "printed"


def print_from_fork():
    process = multiprocessing.get_context("fork").Process(target=print, args=("from a fork",))
    process.start()
    process.join()
    # Not its exit status: a fork of a pool's thread, in which pyoco runs tasks, cannot end well on Python 3.11.
    return "printed"


def terminate_fork():
    """A fork and a program must end by SIGTERM as they do elsewhere, although the runner itself ignores it."""
    fork = multiprocessing.get_context("fork").Process(target=_sleep_long)
    fork.start()
    fork.terminate()
    fork.join(10)
    program = subprocess.Popen(["sleep", "600"])
    program.terminate()
    stopped_by_interrupt = subprocess.Popen(["sleep", "600"])
    stopped_by_interrupt.send_signal(signal.SIGINT)
    return [fork.exitcode, program.wait(10), stopped_by_interrupt.wait(10)]


def terminate_fork_of_fork():
    """Give how the grandchild ended, as its parent saw it."""
    pid = os.fork()
    if pid == 0:
        grandchild = os.fork()
        if grandchild == 0:
            time.sleep(10)
            os._exit(0)
        os.kill(grandchild, signal.SIGTERM)
        os._exit(-os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    return -os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# -- results


def _itself():
    value = []
    value.append(value)
    return value


def odd_value(kind):
    return {
        "object": object,
        "set": lambda: {1},
        "nan": lambda: float("nan"),
        "bytes": lambda: b"\x00\xff",
        "itself": _itself,
        "huge text": lambda: "h" * 400_000,
        "many bytes": lambda: b"b" * 1_000_000,
        "huge number": lambda: 1 << 100_000,
        "surrogate": lambda: "\ud800",
        "nested": lambda: functools.reduce(lambda inner, _: [inner], range(960), 0),
        "tuple keys": lambda: {(1, 2): 3},
    }[kind]()


# -- tasks that do not stop


def ignore_cancel(name):
    """Go on whatever happens, beside a program that does not heed SIGTERM either."""
    program = subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
    _note(f"{name}.deaf", f"{os.getpid()} {program.pid}")
    _sleep_long()


def wait_for_program(name):
    """Wait for a program that ends by SIGTERM, and say so."""
    program = subprocess.Popen(["sleep", "600"])
    _note(f"{name}.waits", os.getpid())
    return program.wait()


def take_memory(name, size):
    """Ask for so many bytes, and end only if they are refused."""
    block = bytearray(size)
    _note(f"{name}.taken", len(block))
    return len(block)
