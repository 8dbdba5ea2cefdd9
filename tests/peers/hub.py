"""sft and Python's huggingface_hub on one cache and one server (tests/hub/hub_server.cpp).

usage: hub.py SFT HUB_SERVER
"""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sft, server_binary = (os.path.abspath(a) for a in sys.argv[1:3])
root = Path(__file__).resolve().parents[2]
work = Path(tempfile.mkdtemp(prefix="sft_hub_peers_"))
server = subprocess.Popen(
    [server_binary, f"models/org/tiny={root}/examples/tiny-model",
     f"datasets/org/stories={root}/examples/data/ostrafell"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
url, token = server.stdout.readline().split()
os.environ.update(HF_ENDPOINT=url, HF_HUB_DISABLE_XET="1", HF_HUB_OFFLINE="0", no_proxy="*",
                  HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1", HF_TOKEN=token,
                  HF_HUB_DISABLE_UPDATE_CHECK="1", HF_HOME=str(work / "python"))
import huggingface_hub as hf  # noqa: E402  (reads the variables above)


def requests():
    server.stdin.write("requests\n")
    server.stdin.flush()
    return list(iter(lambda: server.stdout.readline().strip(), ""))


def run_sft(home, *more, offline=False, wait=True):
    command = [sft, "--model_name_or_path", "org/tiny", "--dataset_name", "org/stories", "--max_steps", "1",
               "--per_device_train_batch_size", "2", "--max_length", "64", "--save_strategy", "no",
               "--output_dir", str(work / "out"), *more]
    environment = dict(os.environ, HF_HOME=str(home), HF_HUB_OFFLINE="1" if offline else "0")
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return check(process) if wait else process


def check(process):
    text = process.communicate()[0]
    assert process.returncode == 0, text
    assert token not in text
    return text


def same(a, b):
    names = sorted(str(p.relative_to(b)) for p in Path(b).rglob("*") if p.is_file())
    assert names, b
    for name in names:
        assert (Path(a) / name).read_bytes() == (Path(b) / name).read_bytes(), name
    return len(names)


try:
    # 1. What Python fetched, sft uses without the network.
    home = work / "python"
    model = hf.snapshot_download("org/tiny")
    hf.snapshot_download("org/stories", repo_type="dataset")
    same(model, root / "examples/tiny-model")
    requests()
    run_sft(home, offline=True)
    assert requests() == []
    # With it, sft asks once for each repository and fetches nothing.
    run_sft(home)
    asked = requests()
    assert len(asked) == 2 and all("/revision/main" in r for r in asked), asked

    # 2. What sft fetched, Python uses: the same places, no second download.
    home = work / "sft"
    run_sft(home)
    fetched = requests()
    assert any("/resolve/" in r for r in fetched)
    cache = home / "hub"
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        path = hf.hf_hub_download("org/tiny", name, cache_dir=cache)
        assert Path(path).is_symlink() and Path(path).read_bytes() == (root / "examples/tiny-model" / name).read_bytes()
    assert not any(r.startswith("GET") and "/lfs/" in r for r in requests())
    same(hf.snapshot_download("org/tiny", cache_dir=cache, local_files_only=True), root / "examples/tiny-model")
    info = hf.scan_cache_dir(cache)
    assert not info.warnings, info.warnings
    assert {r.repo_id for r in info.repos} == {"org/tiny", "org/stories"}
    absent = hf.try_to_load_from_cache("org/tiny", "added_tokens.json", cache_dir=cache)
    assert absent is hf._CACHED_NO_EXIST, absent

    # 3. Both at once on an empty cache.
    for round_ in range(5):
        home = work / f"both{round_}"
        process = run_sft(home, wait=False)
        same(hf.snapshot_download("org/tiny", cache_dir=home / "hub"), root / "examples/tiny-model")
        check(process)
        assert not list(home.rglob("*incomplete")) and not list(home.rglob("*.ranges"))

    # 4. What sft pushes, Python reads; what Python pushes, sft trains on.
    run_sft(work / "sft", "--push_to_hub", "--hub_model_id", "pushed", "--hub_strategy", "end")
    pushed = hf.snapshot_download("me/pushed", cache_dir=work / "pushed")
    shutil.rmtree(work / "out" / "runs", ignore_errors=True)
    same(pushed, work / "out")
    api = hf.HfApi()
    api.create_repo("me/again", private=True)
    api.upload_folder(repo_id="me/again", folder_path=str(root / "examples/tiny-model"))
    run_sft(work / "sft", "--model_name_or_path", "me/again")
    print(f"huggingface_hub {hf.__version__} and sft share caches and repositories")
finally:
    server.stdin.close()
    server.wait()
    shutil.rmtree(work, ignore_errors=True)
