"""A GGUF base with an adapter that was trained on it: its loss in llama.cpp beside ours, on the same rows.

usage: python tests/peers/gguf_loss.py SFT WORK LIBRARY [llama ...]     (torch, transformers 5, tokenizers; on CPU)
  LIBRARY  a shared library with llama.cpp's C interface: libllama.so, or the one inside the package xllamacpp

Per family a tiny model is trained until it is sure of most tokens (an unsure one would hide a mistake), exported in several formats,
each of which is then the frozen base of an adapter trained by `sft`. `sft export` makes a GGUF adapter of it, and llama.cpp
computes the loss of base and adapter. A family: llama (q and k lie permuted in a GGUF file), qwen2 (biases), smol (widths that are
no multiples of 256). GGUF_QUANTS takes a part of the formats.
"""

import ctypes
import json
import math
import os
import pathlib
import random
import subprocess
import sys

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

NEAR = 5e-3  # relative
LENGTH = 96
WORDS = "the a miller baker river stone old grey counts carries sees sells bread grain sacks boats morning evening nine seven ".split()


def rows(count, seed):
    """Sentences of a small language, which a tiny model can learn."""
    draw = random.Random(seed)
    for _ in range(count):
        words = [draw.choice(WORDS)]
        while len(words) < LENGTH:
            at = WORDS.index(words[-1])
            words.append(WORDS[(at * 7 + draw.choice([1, 1, 1, 3])) % len(WORDS)])
        yield " ".join(words)


def pieces(folder):
    """Pieces with bytes and merges, as Gemma 4 has them."""
    tok = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tok.normalizer = normalizers.Replace(" ", "\u2581")
    tok.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=340, special_tokens=special + [f"<0x{i:02X}>" for i in range(256)], max_token_length=12)
    tok.train_from_iterator(list(rows(20, 0)), trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tok, eos_token="<eos>", bos_token="<bos>", pad_token="<pad>", unk_token="<unk>")
    fast.save_pretrained(folder)
    return fast


def tokenizer(folder, kind):
    if kind == "gemma4":
        return pieces(folder)
    cut = {
        "smol": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        "qwen2": None,
        "llama": None,
    }[kind]
    if cut is None:
        digits = r"\p{N}" if kind == "qwen2" else r"\p{N}{1,3}"
        pattern = rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        cut = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok = Tokenizer(models.BPE())
    tok.decoder, tok.pre_tokenizer = decoders.ByteLevel(), cut
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator(list(rows(20, 0)), trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tok, eos_token="<|endoftext|>", bos_token="<|endoftext|>",
                                                pad_token="<|endoftext|>")
    fast.save_pretrained(folder)
    return fast


def make(folder, kind):
    folder.mkdir(parents=True)
    tok = tokenizer(folder, kind)
    common = dict(vocab_size=len(tok), hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=4,
                  max_position_embeddings=256, bos_token_id=0, eos_token_id=0, tie_word_embeddings=kind == "smol")
    if kind == "smol":
        common |= dict(hidden_size=288, num_attention_heads=9, num_key_value_heads=3, intermediate_size=768)
    torch.manual_seed(7)
    config = transformers.Qwen2Config(**common) if kind == "qwen2" else transformers.LlamaConfig(**common)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for name, p in model.named_parameters():
        if p.dim() == 1:  # norms and biases that say something
            torch.nn.init.normal_(p, 0.0 if name.endswith("bias") else 1.0, 0.2)
    model.save_pretrained(folder)
    return tok


class LlamaCpp:
    """As much of llama.h as a loss takes. Parameters are passed as they come, in room enough for any version of their structs."""

    class Params(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_uint64 * 64)]

    class Batch(ctypes.Structure):
        _fields_ = [("count", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)), ("embd", ctypes.c_void_p),
                    ("pos", ctypes.POINTER(ctypes.c_int32)), ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
                    ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))), ("logits", ctypes.POINTER(ctypes.c_int8))]

    def __init__(self, library):
        self.lib = ctypes.CDLL(library, mode=os.RTLD_LAZY)
        pointer, integer = ctypes.c_void_p, ctypes.c_int32
        for name, result, *arguments in [
            ("llama_backend_init", None), ("llama_model_default_params", self.Params), ("llama_context_default_params", self.Params),
            ("llama_model_load_from_file", pointer, ctypes.c_char_p, self.Params), ("llama_init_from_model", pointer, pointer, self.Params),
            ("llama_adapter_lora_init", pointer, pointer, ctypes.c_char_p),
            ("llama_set_adapters_lora", integer, pointer, ctypes.POINTER(pointer), ctypes.c_size_t, ctypes.POINTER(ctypes.c_float)),
            ("llama_model_get_vocab", pointer, pointer), ("llama_vocab_n_tokens", integer, pointer),
            ("llama_batch_init", self.Batch, integer, integer, integer), ("llama_decode", integer, pointer, self.Batch),
            ("llama_get_logits", ctypes.POINTER(ctypes.c_float), pointer), ("llama_get_memory", pointer, pointer),
            ("llama_memory_clear", None, pointer, ctypes.c_bool), ("llama_free", None, pointer), ("llama_model_free", None, pointer),
            ("llama_log_set", None, pointer, pointer),
        ]:  # fmt: skip
            function = getattr(self.lib, name)
            function.restype, function.argtypes = result, arguments
        self.silence = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
        self.lib.llama_log_set(self.silence, None)
        self.lib.llama_backend_init()

    def logits(self, base, adapter, ids_of_rows):
        """The logits behind each token of each row, a tensor a row."""
        lib = self.lib
        model = lib.llama_model_load_from_file(str(base).encode(), lib.llama_model_default_params())
        context = model and lib.llama_init_from_model(model, lib.llama_context_default_params())
        if not context:
            raise RuntimeError(f"llama.cpp does not load {base}")
        if adapter:
            lora = lib.llama_adapter_lora_init(model, str(adapter).encode())
            if not lora or lib.llama_set_adapters_lora(context, (ctypes.c_void_p * 1)(lora), 1, (ctypes.c_float * 1)(1.0)):
                raise RuntimeError(f"llama.cpp does not load {adapter}")
        vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
        batch = lib.llama_batch_init(512, 0, 1)
        out = []
        for ids in ids_of_rows:
            lib.llama_memory_clear(lib.llama_get_memory(context), True)
            batch.count = len(ids)
            for i, token in enumerate(ids):
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, i, 1, 0, 1
            if lib.llama_decode(context, batch):
                raise RuntimeError("llama_decode failed")
            flat = ctypes.cast(lib.llama_get_logits(context), ctypes.POINTER(ctypes.c_float * (len(ids) * vocab))).contents
            out.append(torch.frombuffer(flat, dtype=torch.float32).view(len(ids), vocab).clone())
        lib.llama_free(context)
        lib.llama_model_free(model)
        return out

    def loss(self, base, adapter, ids_of_rows):
        """The mean of -log p over all tokens but each row's first."""
        total, count = 0.0, 0
        for ids, logits in zip(ids_of_rows, self.logits(base, adapter, ids_of_rows)):
            total += torch.nn.functional.cross_entropy(logits[:-1].double(), torch.tensor(ids[1:]), reduction="sum").item()
            count += len(ids) - 1
        return total / count


def run(sft, *words):
    done = subprocess.run([sft, *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"sft {' '.join(map(str, words))}: {done.stderr[-600:]}")


def eval_losses(out):
    return [e["eval_loss"] for e in json.loads((out / "trainer_state.json").read_text())["log_history"] if "eval_loss" in e]


def check(sft, llama_cpp, work, family):
    folder, train, held = work / family / "model", work / family / "train.jsonl", work / family / "rows"
    tok = make(folder, family)
    train.write_text("".join(json.dumps({"text": t}) + "\n" for t in rows(200, 1)))
    ids = [tok(text)["input_ids"][:LENGTH] for text in rows(24, 2)]  # all as long: sft averages over batches, as TRL does
    held.mkdir()
    for split in ("train", "test"):
        (held / f"{split}.jsonl").write_text("".join(json.dumps({"input_ids": i, "labels": i}) + "\n" for i in ids))
    shared = ("--use_cpu", "--threads", 1, "--max_length", LENGTH, "--per_device_train_batch_size", 8, "--logging_steps", 50, "--save_strategy", "no",
              "--report_to", "none", "--seed", 3)  # fmt: skip
    sure = work / family / "sure"
    run(sft, "--model_name_or_path", folder, "--dataset_name", train, *shared, "--max_steps", 150, "--learning_rate", 2e-3, "--output_dir", sure)
    good = True
    for quant in os.environ.get("GGUF_QUANTS", "f16 q8_0 q4_0 q4_1 q4_k_m q5_k_m q6_k").split():
        base, out, lora = (work / family / f"{quant}{end}" for end in (".gguf", "_adapter", "_adapter.gguf"))
        run(sft, "export", sure, "--quant", quant, "--output", base, "-q")
        # The adapter learns the rows by heart, so that much depends on it.
        run(sft, "--model_name_or_path", base, "--dataset_name", held, *shared, "--use_peft", "--lora_r", 8,
            "--lora_target_modules", "all-linear", "--lora_dropout", 0, "--max_steps", 40, "--learning_rate", 3e-3, "--eval_strategy", "steps",
            "--eval_steps", 40, "--eval_on_start", "--per_device_eval_batch_size", 8, "--output_dir", out)  # fmt: skip
        run(sft, "export", out, "--quant", "f32", "--output", lora, "-q")
        before, after = eval_losses(out)
        theirs_before, theirs_after = llama_cpp.loss(base, None, ids), llama_cpp.loss(base, lora, ids)
        off = max(abs(a / b - 1) for a, b in ((before, theirs_before), (after, theirs_after)))
        near = math.isfinite(off) and off < NEAR and after < 0.9 * before
        print(f"{family} {quant}: base {before:.4f}, in llama.cpp {theirs_before:.4f}; with its adapter {after:.4f}, in llama.cpp {theirs_after:.4f}: "
              f"{'within' if near else 'NOT WITHIN'} {100 * off:.3f} %", flush=True)  # fmt: skip
        good &= near
    return good


def main():
    sft, work, library = str(pathlib.Path(sys.argv[1]).resolve()), pathlib.Path(sys.argv[2]).resolve(), sys.argv[3]
    llama_cpp = LlamaCpp(library)
    good = [check(sft, llama_cpp, work, family) for family in sys.argv[4:] or ("llama", "qwen2", "smol")]
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(main())
