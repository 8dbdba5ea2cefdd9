#!/usr/bin/env python3
"""What is inside a release, as SPDX 2.3 JSON on stdout: the third-party libraries with version and licence, each file with its sha256.

usage: packaging/sbom.py stage deps version        deps: the folder of third_party.sh; SOURCE_DATE_EPOCH names the time in it"""
import datetime, hashlib, json, os, pathlib, re, sys

LICENCES = {"onednn": "Apache-2.0", "gloo": "BSD-3-Clause", "simdjson": "Apache-2.0", "fmtlib": "MIT", "curl": "curl",
            "zlib1g-dev": "Zlib", "libzstd-dev": "BSD-3-Clause", "liblzma-dev": "0BSD", "libbz2-dev": "bzip2-1.0.6",
            "libpcre2-dev": "BSD-3-Clause", "libutf8proc-dev": "MIT", "libyaml-cpp-dev": "MIT", "libssl-dev": "Apache-2.0",
            "nlohmann-json3-dev": "MIT", "gcc": "GPL-3.0-or-later WITH GCC-exception-3.1", "arrow": "Apache-2.0"}


def main():
    stage, deps, version = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    when = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.timezone.utc)
    versions = dict(line.split() for line in (deps / "versions").read_text().splitlines())
    for file in (stage / "lib/sft").glob("libarrow.so.*"):
        versions["arrow"] = f"{int(file.name.rsplit('.', 1)[1]) // 100}.{int(file.name.rsplit('.', 1)[1]) % 100}"
    packages = [{"name": "sft-cpp", "SPDXID": "SPDXRef-sft", "versionInfo": version, "downloadLocation": "NOASSERTION",
                 "licenseConcluded": "Apache-2.0", "filesAnalyzed": False}]
    for name in sorted(versions):
        packages.append({"name": name, "SPDXID": "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", name), "versionInfo": versions[name],
                         "downloadLocation": "NOASSERTION", "licenseConcluded": LICENCES[name], "filesAnalyzed": False})
    files = []
    for path in sorted(p for p in stage.rglob("*") if p.is_file()):
        name = path.relative_to(stage).as_posix()
        files.append({"fileName": "./" + name, "SPDXID": f"SPDXRef-File-{len(files)}",
                      "checksums": [{"algorithm": "SHA256", "checksumValue": hashlib.sha256(path.read_bytes()).hexdigest()}]})
    document = {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": f"sft-cpp-{version}",
                "documentNamespace": f"https://spdx.org/spdxdocs/sft-cpp-{version}",
                "creationInfo": {"created": when.strftime("%Y-%m-%dT%H:%M:%SZ"), "creators": ["Tool: packaging/sbom.py"]},
                "packages": packages, "files": files,
                "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-sft"}] +
                [{"spdxElementId": "SPDXRef-sft", "relationshipType": "CONTAINS", "relatedSpdxElement": p["SPDXID"]} for p in packages[1:]]}
    json.dump(document, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
