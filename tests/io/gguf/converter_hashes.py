"""Prints converter_hashes.inc: hashes of the files that llama.cpp's converter makes of small models of the tests.

usage: converter_hashes.py LLAMA_CPP    its sources; needs torch, transformers 5, sentencepiece
"""
import runpy
import sys
import tempfile
from pathlib import Path

llama_cpp = Path(sys.argv[1]).resolve()
models = Path(__file__).resolve().parents[2] / "golden" / "models"
sys.path[:0] = [str(llama_cpp), str(llama_cpp / "gguf-py")]
from conversion import base  # noqa: E402

for model, pre in [("l32", "smaug-bpe"), ("q2gqa", "qwen2"), ("smol", "smollm")]:
    # The converter knows a tokenizer by a hash of its tokens, which these small ones do not have.
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
    for quant in ["f32", "f16", "bf16", "q8_0"]:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "x.gguf"
            sys.argv = ["convert", str(models / model), "--outfile", str(out), "--outtype", quant]
            runpy.run_path(str(llama_cpp / "convert_hf_to_gguf.py"), run_name="__main__")
            h = 0xCBF29CE484222325
            for b in out.read_bytes():
                h = (h ^ b) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
            print(f'{{"{model}", "{quant}", 0x{h:016x}U}},', flush=True)
