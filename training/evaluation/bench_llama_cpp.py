"""Times `setokim complete` beside llama.cpp on the CPU: the same packed file, the same prompt, all cores.

    python -m training.evaluation.bench_llama_cpp --prompt benches/peers/prompt.txt [--setokim PROGRAM] [--runs 3]

The programs take turns. llama.cpp rounds activations to 8 bits, ours to 16. Prints a JSON list.
Needs what `compare_llama_cpp.py` needs.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import llama_cpp

from .compare_llama_cpp import last_logits, packaged_model

NEW_TOKENS = 128


def without_extra_buffers() -> None:
    """llama.cpp 0.3.36 crashes on Q4_1 in its layout for processors with AMX; this takes the ordinary one."""
    defaults = llama_cpp.llama_cpp.llama_model_default_params

    def parameters():
        chosen = defaults()
        chosen.use_extra_bufts = False
        return chosen

    llama_cpp.llama_cpp.llama_model_default_params = parameters


def llama_cpp_speed(model, prompt: bytes) -> dict[str, float]:
    """Tokens per second of prefill and greedy decoding."""
    model.reset()
    ids = model.tokenize(prompt, add_bos=False, special=False)
    started = time.perf_counter()
    model.eval(ids)
    prefill = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(NEW_TOKENS):
        model.eval([int(last_logits(model).argmax())])
    decode = time.perf_counter() - started
    return {"prefill": len(ids) / prefill, "decode": NEW_TOKENS / decode}


def setokim_speed(binary: str, path: Path, prompt: str, device: str) -> dict[str, float]:
    command = [binary, "complete", "--gguf", path, prompt, "-n", str(NEW_TOKENS), "--greedy", "--json"]
    report = json.loads(subprocess.run([*command, "--device", device], capture_output=True, check=True).stdout)
    return {
        "prefill": len(report["prompt_ids"]) / report["prefill_seconds"],
        "decode": (len(report["steps"]) - 1) / report["decode_seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setokim", default="target/native/setokim")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--prompt", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    without_extra_buffers()
    path, prompt = packaged_model(), arguments.prompt.read_text().strip()
    threads = os.cpu_count()
    model = llama_cpp.Llama(
        str(path), n_ctx=512, n_batch=512, n_threads=threads, n_threads_batch=threads, verbose=False
    )
    runs = {"setokim": [], f"llama.cpp, {threads} threads": []}
    llama_cpp_speed(model, prompt.encode())  # the first run warms up
    for _ in range(arguments.runs):
        for name, speeds in runs.items():
            ours = name == "setokim"
            speeds.append(
                setokim_speed(arguments.setokim, path, prompt, arguments.device)
                if ours
                else llama_cpp_speed(model, prompt.encode())
            )
    rows = []
    for work in ("prefill", "decode"):
        for name, speeds in runs.items():
            values = [speed[work] for speed in speeds]
            spread = {"median": statistics.median(values), "min": min(values), "max": max(values)}
            what = f"SmolLM2-135M Q4_1, {work}, native CPU"
            rows.append({"what": what, "program": name, "unit": "tokens/s", "runs": len(values), **spread})
    print(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
