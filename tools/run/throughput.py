"""Runs a second with several callers on one session: onnx-run, ONNX Runtime and OpenVINO, side by side.

usage: python throughput.py ONNX_RUN MODEL.onnx INPUTS.npz [--callers 4] [--threads 2] [--rounds 3] [--seconds 3]
needs: pip install numpy onnxruntime openvino

Every measurement is a process of its own, and the runtimes take turns. OpenVINO serves its callers by as many
requests on its own streams (performance hint THROUGHPUT). The last line is our median over the best peer's.
"""
import argparse
import json
import statistics
import subprocess
import sys
import threading
import time


def measure(calls, seconds):
    """Runs each of `calls` on a thread of its own for a while; how many runs a second there were in all."""
    for call in calls:
        call()
    counts = [0] * len(calls)
    stop = time.perf_counter() + seconds

    def work(at):
        while time.perf_counter() < stop:
            calls[at]()
            counts[at] += 1

    start = time.perf_counter()
    threads = [threading.Thread(target=work, args=(at,)) for at in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def worker(peer, model, inputs, callers, threads, seconds):
    import numpy as np

    feeds = dict(np.load(inputs))
    if peer == "ort":
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        calls = [lambda: session.run(None, feeds)] * callers
    else:
        import openvino as ov

        core = ov.Core()
        read = core.read_model(model)
        read.reshape({k: list(v.shape) for k, v in feeds.items()})
        compiled = core.compile_model(read, "CPU", {
            "PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"})

        def caller():
            request = compiled.create_infer_request()
            for name, value in feeds.items():
                request.set_tensor(name, ov.Tensor(np.array(value)))
            return request.infer

        calls = [caller() for _ in range(callers)]
    print(json.dumps({"per_second": measure(calls, seconds)}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ours")
    parser.add_argument("model")
    parser.add_argument("inputs")
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    args = parser.parse_args()
    numbers = [str(args.callers), str(args.threads), str(args.seconds)]
    commands = {
        "ours": [args.ours, "bench", args.model, "--inputs", args.inputs, "--callers", numbers[0],
                 "--threads", numbers[1], "--seconds", numbers[2], "--json"],
        "ort": [sys.executable, __file__, "--worker", "ort", args.model, args.inputs, *numbers],
        "openvino": [sys.executable, __file__, "--worker", "openvino", args.model, args.inputs, *numbers],
    }
    rates = {name: [] for name in commands}
    for _ in range(args.rounds):
        for name, command in commands.items():
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rates[name].append(json.loads(done.stdout.strip().splitlines()[-1])["per_second"])
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, value in medians.items():
        print(f"{name:10} {value:10.2f} runs a second")
    print(f"ours / best peer: {medians['ours'] / max(v for n, v in medians.items() if n != 'ours'):.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        peer, model, inputs, callers, threads, seconds = sys.argv[2:8]
        worker(peer, model, inputs, int(callers), int(threads), float(seconds))
    else:
        main()
