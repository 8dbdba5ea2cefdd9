"""What ELF files ask of the system, by readelf. Used by wheel.py and check_files.py."""
import pathlib, re, subprocess


def is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def elf_files(folder):
    return [p for p in sorted(pathlib.Path(folder).rglob("*")) if p.is_file() and is_elf(p)]


def readelf(path, what):
    return subprocess.run(["readelf", "--wide", what, str(path)], capture_output=True, text=True, check=True).stdout


def newest(path, library="GLIBC"):
    """(2, 30): the newest version of that library's symbols that the file asks for; (0,) when it asks for none."""
    found = re.findall(rf"Name: {library}_([0-9.]+)", readelf(path, "--version-info"))
    return max((tuple(map(int, version.split("."))) for version in found), default=(0,))


def needed(path):
    return re.findall(r"\(NEEDED\).*\[(.+)\]", readelf(path, "--dynamic"))


def search_path(path):
    """Where the loader is told to look for libraries: "" or folders with colons between them."""
    return ":".join(re.findall(r"\((?:RUNPATH|RPATH)\).*\[(.*)\]", readelf(path, "--dynamic")))


def machine(path):
    return "aarch64" if "AArch64" in readelf(path, "--file-header") else "x86_64"
