"""Tasks that save files, in all the ways in which that can be done or attempted."""

import functools
import os
import time
from pathlib import Path


def _wait_for(name):
    deadline = time.monotonic() + 60
    while not (Path(os.environ["HALL"]) / name).exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def report(ctx):
    ctx.save_artifact("report.html", "<h1>done</h1>")
    ctx.save_artifact("data/rows.csv", "a,b\n1,2\n")
    ctx.save_artifact("data/raw", bytes(range(256)))
    ctx.save_artifact("summary", {"rows": 1})


def follow_up(ctx, report):
    ctx.save_artifact("after.txt", "after")


def save_same(ctx, report):
    ctx.save_artifact("report.html", "<h1>anew</h1>")


def save_elsewhere(ctx):
    os.makedirs("inner")
    os.chdir("inner")
    ctx.save_artifact("from-inner.txt", "x")
    os.chdir("..")


def write_plainly():
    Path("artifacts/plot.png").write_bytes(b"\x89PNG")


def save_empty(ctx):
    ctx.save_artifact("empty.bin", b"")


def save_and_fail(ctx):
    ctx.save_artifact("before.txt", "as far as it came")
    raise RuntimeError("after it has saved")


def save_attempts(ctx, name):
    count = len(list(Path(os.environ["HALL"]).glob(f"{name}.*")))
    Path(os.environ["HALL"], f"{name}.{count}").touch()
    ctx.save_artifact("tries.txt", f"attempt {count + 1}")
    if count < 2:
        raise RuntimeError("not yet")


def save_and_die(ctx):
    ctx.save_artifact("last words.txt", "farewell")
    os._exit(3)


def save_and_hold(ctx, name):
    ctx.save_artifact("held.txt", "while it holds")
    _wait_for(name)


def hold_after(name, report):
    _wait_for(name)


def save_hostile(ctx):
    ctx.save_artifact("../outside.txt", "x")
    ctx.save_artifact(os.path.abspath("absolute.txt"), "x")
    ctx.save_artifact("good.txt", "good")
    ctx.save_artifact("two\nlines", "x")
    folder = Path("artifacts")
    os.symlink("/etc/passwd", folder / "link")
    os.symlink("/etc", folder / "linked")
    os.mkfifo(folder / "pipe")
    Path(os.fsencode(folder).decode(), os.fsdecode(b"\xff\xfe")).write_text("x")
    (folder / ("n" * 200) / ("n" * 200) / ("n" * 200) / ("n" * 200) / ("n" * 200)).mkdir(parents=True)
    (folder / ("n" * 200) / ("n" * 200) / ("n" * 200) / ("n" * 200) / ("n" * 200) / ("n" * 200)).write_text("x")
    (folder / "日本語 ok.txt").write_text("unicode")


def save_linked_folder(ctx):
    os.rmdir("artifacts")
    os.symlink("/etc", "artifacts")


def save_huge(ctx):
    ctx.save_artifact("small.txt", "small")
    with open("artifacts/sparse.bin", "wb") as file:
        file.truncate(1 << 40)


def save_many_bytes(ctx):
    for number in range(5):
        ctx.save_artifact(f"part-{number}.bin", bytes([number]) * 400_000)


def save_many_files(ctx):
    for number in range(1_100):
        ctx.save_artifact(f"{number:04}.txt", str(number))


def save_large(ctx, size):
    ctx.save_artifact("large.bin", os.urandom(1024) * (size // 1024))


def save_growing(ctx):
    path = Path(ctx.save_artifact("growing.txt", "x"))
    if os.fork() == 0:
        while path.exists():
            with path.open("a") as file:
                file.write("y")
        os._exit(0)


def much_text(size):
    return "é" * size


def many_bytes(size):
    return bytes(size)


def much_json(size):
    return {"rows": ["x" * 10] * (size // 10)}


def middle_text(size):
    return "m" * size


def fail_at_length(size):
    print("p" * size)
    raise RuntimeError("e" * size)


def deep_json(size):
    return functools.reduce(lambda inner, _: [inner], range(size), "inside")
