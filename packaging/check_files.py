#!/usr/bin/env python3
"""Whether an installed folder runs where it is promised: no file asks for a newer glibc than 2.31, or for a library that neither lies
beside it nor is the C library's, NVIDIA's or, for Arrow's own files, the compiler's; none looks in folders of the builder's; every
promised GPU finds machine code.

usage: packaging/check_files.py stage        needs Python 3.9 and readelf"""
import re, sys
from elf_files import elf_files, needed, newest, search_path
import gpu_code

NEWEST = (2, 31)
C_LIBRARY = re.compile(r"(libc|libm|libdl|libpthread|librt|libgcc_s|ld-linux-[a-z0-9-]+)\.so\.\d+$")
NVIDIA = re.compile(r"(libcublasLt|libcudart)\.so\.1[23]$")
COMPILER = re.compile(r"(libstdc\+\+|libgcc_s)\.so\.\d+$")


def main():
    files = elf_files(sys.argv[1])
    here = {path.name for path in files}
    faults = []
    for path in files:
        version = newest(path)
        print(f"{path.stat().st_size:>12,} bytes  glibc {'.'.join(map(str, version)):>5}  {path.relative_to(sys.argv[1])}")
        if version > NEWEST:
            faults.append(f"{path}: asks for glibc {'.'.join(map(str, version))}, newer than {'.'.join(map(str, NEWEST))}")
        if search_path(path) not in ("", "$ORIGIN"):
            faults.append(f"{path}: looks for libraries in {search_path(path)}, a path of the machine that built it")
        faults += gpu_code.faults(path)
        for library in needed(path):
            arrow = path.name.startswith(("libarrow", "libparquet")) and COMPILER.match(library)
            cuda = path.name.startswith("libsft_cuda") and NVIDIA.match(library)
            if not (C_LIBRARY.match(library) or library in here or arrow or cuda):
                faults.append(f"{path}: asks for {library}, which is not beside it")
    if not files:
        faults.append(f"{sys.argv[1]}: no program in it")
    print("\n".join(faults) or f"{len(files)} files run on glibc {'.'.join(map(str, NEWEST))} and newer")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
