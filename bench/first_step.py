#!/usr/bin/env python3
"""Runs a training command and prints how long after its start the first step was logged, and the
anonymous memory of the process at that moment.

usage: first_step.py sft [options, with --logging_steps 1]
"""
import re
import subprocess
import sys
import time

start = time.time()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
for line in process.stdout:
    if "'loss'" in line or '"loss"' in line:
        took = time.time() - start
        status = open(f"/proc/{process.pid}/status").read()
        anonymous = int(re.search(r"RssAnon:\s+(\d+)", status).group(1)) // 1024
        files = int(re.search(r"RssFile:\s+(\d+)", status).group(1)) // 1024
        print(f"{took:.2f} s, anonymous {anonymous} MB (files {files} MB)")
        process.kill()
        break
else:
    print("no step: " + process.stderr.read()[-600:])
process.wait()
