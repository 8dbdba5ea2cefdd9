#!/usr/bin/env python3
"""Runs a training command and prints how long after its start the first step was logged, and the
memory of its processes (those that it started, too) at that moment: anonymous, and pages of files.

usage: first_step.py sft [launch ...] [options, with --logging_steps 1]
"""
import glob
import os
import re
import signal
import subprocess
import sys
import time


def tree(pid):
    yield pid
    for file in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            for child in open(file).read().split():
                yield from tree(int(child))
        except OSError:
            pass


def megabytes(pids, kind):
    total = 0
    for pid in pids:
        found = re.search(kind + r":\s+(\d+)", open(f"/proc/{pid}/status").read())
        total += int(found.group(1)) // 1024 if found else 0
    return total


start = time.time()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
for line in process.stdout:
    if "'loss'" in line or '"loss"' in line:
        took = time.time() - start
        pids = list(tree(process.pid))
        print(f"{took:.2f} s, anonymous {megabytes(pids, 'RssAnon')} MB (files {megabytes(pids, 'RssFile')} MB)")
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        break
else:
    print("no step: " + process.stderr.read()[-600:])
process.wait()
