"""What sft wrote for TensorBoard, wandb, trackio and MLflow, beside metrics.jsonl: by TensorBoard's own reader, by what
`wandb sync` sends to a server, played here on loopback, by trackio's own reader, and by MLflow's client from its own server.

usage: trackers.py OUTPUT_DIR WANDB_DIR    (packages: tensorboard, wandb)
       trackers.py OUTPUT_DIR --trackio TRACKIO_DIR PROJECT    (package: trackio)
       trackers.py --mlflow SFT WORK    (package: mlflow; starts its server on loopback and trains with it)
"""
import gzip
import http.server
import json
import math
import os
import pathlib
import subprocess
import sys
import threading

RUN_ONLY = {"k", "t", "step", "samples", "nonfinite"}


def rewritten(name):
    return f"eval/{name[5:]}" if name.startswith("eval_") else f"train/{name}"


def same(a, b):
    return a == b or math.isclose(a, b, rel_tol=1e-6) or (math.isnan(a) and math.isnan(b))


def lines_of(output):
    with open(output / "metrics.jsonl") as file:
        return [json.loads(line) for line in file]


def check_tensorboard(output, lines):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [folder] = (output / "runs").iterdir()
    board = EventAccumulator(str(folder)).Reload()
    expected = {}
    for line in lines:
        if line["k"] in ("log", "eval", "finish"):
            for name, value in line.items():
                if name not in RUN_ONLY and isinstance(value, (int, float)):
                    expected.setdefault(rewritten(name), []).append((line["step"], value))
    assert set(board.Tags()["scalars"]) == set(expected), set(board.Tags()["scalars"]) ^ set(expected)
    count = 0
    for tag, points in expected.items():
        events = board.Scalars(tag)
        assert len(events) == len(points), tag
        for event, (step, value) in zip(events, points):
            assert event.step == step and same(event.value, value), (tag, event, step, value)
            count += 1
    assert "args/text_summary" in board.Tags()["tensors"]
    hparams = board.SummaryMetadata("_hparams_/session_start_info").plugin_data
    assert hparams.plugin_name == "hparams"
    from tensorboard.plugins.hparams import plugin_data_pb2

    session = plugin_data_pb2.HParamsPluginData.FromString(hparams.content).session_start_info
    assert session.hparams["learning_rate"].number_value == lines[0]["config"]["learning_rate"]
    print(f"tensorboard: {count} points of {len(expected)} tags equal metrics.jsonl")


class WandbServer(http.server.ThreadingHTTPServer):
    """As much of W&B's server as `wandb sync` asks for. It keeps what it is sent."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), WandbAnswers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.runs, self.rows, self.files, self.stats = [], {}, {}, []
        self.summary, self.exit_code = {}, None

    def handle_error(self, request, address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # wandb ends with its connections open
            super().handle_error(request, address)


class WandbAnswers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def answer(self, value):
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_PUT(self):
        self.server.files[self.path.removeprefix("/upload/")] = self.body()
        self.answer({})

    def do_POST(self):
        server, body = self.server, self.body()
        if not self.path.endswith(("/graphql", "/file_stream")):  # wandb's own telemetry
            return self.answer({})
        request = json.loads(body)
        if self.path.endswith("/file_stream"):
            for name, part in request.get("files", {}).items():
                if name == "wandb-history.jsonl":
                    for number, row in enumerate(part["content"], part["offset"]):
                        server.rows[number] = json.loads(row)
                elif name == "wandb-events.jsonl":
                    server.stats += [json.loads(row) for row in part["content"]]
                elif name == "wandb-summary.json":
                    server.summary.update(json.loads(part["content"][-1]))
            if request.get("complete"):
                server.exit_code = request["exitcode"]
            return self.answer({})
        variables = request.get("variables") or {}
        if request.get("operationName") == "UpsertBucket":
            server.runs.append(variables)
            project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": "someone"}}
            bucket = {"id": "r", "name": variables["name"], "displayName": variables["displayName"], "project": project}
            return self.answer({"data": {"upsertBucket": {"bucket": bucket, "inserted": len(server.runs) == 1}}})
        if request.get("operationName") == "CreateRunFiles":
            files = [{"name": f, "uploadUrl": f"{server.url}/upload/{f}"} for f in variables["files"]]
            return self.answer({"data": {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}})
        return self.answer({"data": {}})

    def log_message(self, *words):
        pass


def check_wandb(folder, lines):
    [run] = pathlib.Path(folder).glob("wandb/offline-run-*")
    server = WandbServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**os.environ, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": "0" * 40, "WANDB_DIR": str(folder)}
    subprocess.run([sys.executable, "-m", "wandb", "sync", "--yes", str(run)], env=environment, check=True, timeout=120)
    server.shutdown()

    first = server.runs[0]
    config = {name: entry["value"] for name, entry in json.loads(first["config"]).items()}
    print(f"wandb sync: run {first['name']}, project {first['project']}, name {first['displayName']}")
    logged = [line for line in lines if line["k"] in ("log", "eval", "finish")]
    assert sorted(server.rows) == list(range(len(logged))), (sorted(server.rows), len(logged))
    for number, line in enumerate(logged):
        row = server.rows[number]
        assert row["_step"] == number and row["train/global_step"] == line["step"]
        for name, value in line.items():
            total = line["k"] == "finish" and (name.startswith("train_") or name == "total_flos")
            if name in RUN_ONLY or value is None:
                continue
            assert same(server.summary[name] if total else row[rewritten(name)], value), name
    for name, value in lines[0]["config"].items():
        assert config[name] == value, (name, config[name], value)
    assert server.exit_code == 0 and server.stats
    metadata = json.loads(server.files["wandb-metadata.json"])
    assert metadata["args"] == lines[0]["argv"][-len(metadata["args"]):] and metadata["host"], metadata
    print(f"wandb sync: {len(server.rows)} rows, {len(config)} settings, {len(server.stats)} lines of the system, "
          f"{len(server.files)} files; the same as metrics.jsonl")


def check_trackio(folder, project, lines):
    os.environ["TRACKIO_DIR"] = str(folder)
    from trackio.sqlite_storage import SQLiteStorage

    [run] = SQLiteStorage.get_runs(project)
    rows = SQLiteStorage.get_logs(project, run)
    logged = [line for line in lines if line["k"] in ("log", "eval", "finish")]
    assert len(rows) == len(logged), (len(rows), len(logged))
    count = 0
    for row, line in zip(rows, logged):
        assert row["step"] == line["step"], (row, line)
        for name, value in line.items():
            if name not in RUN_ONLY and isinstance(value, (int, float)):
                assert same(float(row[rewritten(name)]), value), name
                count += 1
    print(f"trackio: run {run}, {len(rows)} rows with {count} values equal metrics.jsonl")


def check_mlflow(sft, work):
    import socket
    import time

    from mlflow.tracking import MlflowClient

    root, work = pathlib.Path(__file__).resolve().parents[2], pathlib.Path(work).absolute()
    work.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
             "--backend-store-uri", f"sqlite:///{work}/mlflow.db", "--default-artifact-root", str(work / "artifacts")]
    with open(work / "server.log", "w") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.5)
        environment = {**os.environ, "MLFLOW_TRACKING_URI": url, "MLFLOW_EXPERIMENT_NAME": "peers"}
        subprocess.run([sft, "--model_name_or_path", root / "examples/tiny-model", "--dataset_name", root / "examples/data/ostrafell",
                        "--dataset_test_split", "train", "--output_dir", work / "out", "--max_steps", "4", "--logging_steps", "1",
                        "--eval_strategy", "steps", "--eval_steps", "2", "--report_to", "mlflow", "--run_name", "first", "--save_strategy", "no"],
                       env=environment, check=True, stdout=subprocess.DEVNULL)
        client = MlflowClient(url)
        experiment = client.get_experiment_by_name("peers")
        [run] = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED" and run.info.run_name == "first", run.info
        lines = lines_of(work / "out")
        expected = {}
        for line in lines:
            if line["k"] in ("log", "eval", "finish"):
                for name, value in line.items():
                    if name not in RUN_ONLY and isinstance(value, (int, float)):
                        point = (round(1000 * line["t"]), line["step"], value)  # of two alike MLflow keeps one
                        if point not in expected.setdefault(name, []):
                            expected[name].append(point)
        count = 0
        for name, points in expected.items():
            history = sorted(client.get_metric_history(run.info.run_id, name), key=lambda m: (m.timestamp, m.step))
            assert [(m.timestamp, m.step) for m in history] == [point[:2] for point in points], name
            assert all(same(m.value, value) for m, (_, _, value) in zip(history, points)), name
            count += len(points)
        config = lines[0]["config"]
        assert all(name in run.data.params for name in config), set(config) - set(run.data.params)
        print(f"mlflow: {count} points of {len(expected)} metrics and {len(run.data.params)} parameters equal metrics.jsonl")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    if sys.argv[1] == "--mlflow":
        check_mlflow(sys.argv[2], sys.argv[3])
    elif sys.argv[2] == "--trackio":
        check_trackio(sys.argv[3], sys.argv[4], lines_of(pathlib.Path(sys.argv[1])))
    else:
        out = pathlib.Path(sys.argv[1])
        check_tensorboard(out, lines_of(out))
        check_wandb(sys.argv[2], lines_of(out))
