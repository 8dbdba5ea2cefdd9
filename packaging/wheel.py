#!/usr/bin/env python3
"""A wheel of an installed folder (cmake --install build --prefix stage): the same bytes each time.

usage: packaging/wheel.py stage version out        needs Python 3.9 and readelf; SOURCE_DATE_EPOCH names the time in it

bin/ becomes the wheel's scripts and the rest its data, so that pip, pipx and uv lay bin/sft and lib/sft/ out as they are here and no
Python runs when sft does. The platform tag says the newest glibc that any file asks for."""
import base64, hashlib, os, pathlib, sys, time, zipfile
from elf_files import elf_files, machine, newest

EXTRAS = {
    "cuda13": ["nvidia-cublas>=13,<14", "nvidia-cudnn-cu13>=9,<10", "nvidia-nccl-cu13>=2.18"],
    "cuda12": ["nvidia-cublas-cu12>=12.4,<13", "nvidia-cudnn-cu12>=9,<10", "nvidia-nccl-cu12>=2.18"],
}


def metadata(version, readme):
    lines = ["Metadata-Version: 2.1", "Name: sft-cpp", f"Version: {version}",
             "Summary: Supervised fine-tuning of language models: one native program that reads TRL's options",
             "License: Apache-2.0", "Keywords: fine-tuning,sft,trl,deepspeed,lora,llm",
             "Classifier: License :: OSI Approved :: Apache Software License", "Classifier: Operating System :: POSIX :: Linux",
             "Classifier: Environment :: GPU :: NVIDIA CUDA", "Requires-Python: >=3.8",
             "Description-Content-Type: text/markdown"]
    for extra, packages in EXTRAS.items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f'Requires-Dist: {package}; extra == "{extra}"' for package in packages]
    return "\n".join(lines) + "\n\n" + readme


def main():
    stage, version, out = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    when = time.gmtime(max(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), 315532800))[:6]
    files = sorted(p for p in stage.rglob("*") if p.is_file())
    elf = elf_files(stage)
    major, minor = max(newest(p) for p in elf)[:2]
    tag = f"py3-none-manylinux_{major}_{minor}_{machine(stage / 'bin/sft')}"
    info, data = f"sft_cpp-{version}.dist-info", f"sft_cpp-{version}.data"
    members = []
    for path in files:
        inside = path.relative_to(stage).as_posix()
        name = f"{data}/scripts/{inside[4:]}" if inside.startswith("bin/") else f"{data}/data/{inside}"
        members.append((name, path.read_bytes(), 0o755 if path in elf else 0o644))
    readme = (stage / "share/doc/sft-cpp/README.md").read_text()
    members.append((f"{info}/METADATA", metadata(version, readme).encode(), 0o644))
    members.append((f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: sft.cpp\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(), 0o644))
    record = ""
    for name, content, _ in members:
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(content)}\n"
    members.append((f"{info}/RECORD", (record + f"{info}/RECORD,,\n").encode(), 0o644))
    out.mkdir(parents=True, exist_ok=True)
    wheel = out / f"sft_cpp-{version}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content, mode in members:
            entry = zipfile.ZipInfo(name, when)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = (0o100000 | mode) << 16
            archive.writestr(entry, content)
    print(wheel)


if __name__ == "__main__":
    main()
