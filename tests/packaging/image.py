#!/usr/bin/env python3
"""The last stage of a Dockerfile without Docker: its file system by its COPY lines, its command as process 1.

image.py assemble DOCKERFILE BUILT ROOT     BUILT/FILE stands for what the stage `build` left in /out
image.py run DOCKERFILE ROOT ARGUMENTS...   as process 1, read-only, as its user; with a network of its own
image.py health DOCKERFILE PID              what HEALTHCHECK says, in the container whose first process is PID
"""

import json
import os
import re
import shutil
import sys


def last_stage(path):
    """Its instructions: (NAME, rest), lines joined."""
    with open(path, encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    steps = [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]
    first = max(at for at, step in enumerate(steps) if step[0] == "FROM")
    return steps[first:]


def one(steps, name):
    found = [rest for step, rest in steps if step == name]
    if len(found) != 1:
        sys.exit(f"{len(found)} lines with {name}")
    return found[0]


def environment(steps):
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    for step, rest in steps:
        if step == "ENV":
            env |= dict(pair.split("=", 1) for pair in rest.split())
    return env


def assemble(dockerfile, built, root):
    steps = last_stage(dockerfile)
    if steps[0][1] != "scratch":
        sys.exit(f"it begins with {steps[0][1]}, of which nothing is known here")
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    for step, rest in steps[1:]:
        if step in ("RUN", "ADD", "VOLUME"):
            sys.exit(f"{step} cannot be done by hand")
        if step == "COPY":
            source, target = re.fullmatch(r"--from=build /out/(\S+) (/\S+)", rest).groups()
            os.makedirs(os.path.dirname(root + target), exist_ok=True)
            shutil.copy2(os.path.join(built, source), root + target)
    # What every runtime makes for itself.
    for folder in ("proc", "dev"):
        os.makedirs(os.path.join(root, folder))


def run(dockerfile, root, arguments):
    steps = last_stage(dockerfile)
    user = one(steps, "USER")
    command = json.loads(one(steps, "ENTRYPOINT")) + arguments
    script = """
        set -e
        mount --bind "$0" "$0"
        mount -t proc -o nosuid,nodev,noexec proc "$0/proc"
        mount -t tmpfs -o nosuid,mode=755 tmpfs "$0/dev"
        for device in "null 3" "zero 5" "full 7" "random 8" "urandom 9"; do
            set_ () { mknod -m 666 "$root/dev/$1" c 1 "$2"; }
            root=$0 set_ $device
        done
        mount -o remount,bind,ro "$0"
        ip link set lo up
        user=$1; shift
        exec chroot --userspec="$user" "$0" "$@"
    """
    unshare = ["unshare", "--pid", "--fork", "--mount", "--net", "--ipc", "--uts", "--propagation", "private", "--kill-child"]
    env = environment(steps)
    # The shell's own programs are found by this machine's PATH, the program by its absolute name.
    os.execvpe("unshare", unshare + ["sh", "-c", script, os.path.abspath(root), user] + command, env)


def health(dockerfile, pid):
    steps = last_stage(dockerfile)
    words = one(steps, "HEALTHCHECK").split("CMD", 1)[1]
    user, group = one(steps, "USER").split(":")
    enter = ["nsenter", "--target", pid, "--mount", "--pid", "--net", "--root", "--wd=/", "--setuid", user, "--setgid", group]
    os.execvpe("nsenter", enter + json.loads(words), environment(steps))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["assemble", dockerfile, built, root]:
            assemble(dockerfile, built, root)
        case ["run", dockerfile, root, *arguments]:
            run(dockerfile, root, arguments)
        case ["health", dockerfile, pid]:
            health(dockerfile, pid)
        case _:
            sys.exit(__doc__)
