"""Compares what `sft export` writes with llama.cpp's converter, byte for byte, and with ggml's quantisers.

usage: gguf.py SFT WORK LLAMA_CPP [LIBRARY]
  LLAMA_CPP  llama.cpp's sources (convert_hf_to_gguf.py, conversion/, gguf-py/), as in the source package of llama-cpp-python
  LIBRARY    a shared library with ggml_quantize_chunk, as in xllamacpp; without it only the converter's types are compared. Where it has
             llama_model_quantize, too, whole files are compared with those that it makes
Needs torch, transformers 5, tokenizers, sentencepiece, numpy. GGUF_FAMILIES and GGUF_DTYPES take a part of what is compared.
"""
import ctypes
import hashlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

sft, work, llama_cpp = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve()
library = sys.argv[4] if len(sys.argv) > 4 else None
sys.path[:0] = [str(llama_cpp), str(llama_cpp / "gguf-py")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
TEXTS = [Path(__file__).read_text(), "The miller counts 1234 sacks of grain. Ärger über 3,5 Öre! \U0001f98b" * 20]
CHATML = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def byte_level(folder, kind):
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "llama-bpe"))
    tokenizer.decoder = decoders.ByteLevel()
    tail = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "smollm")
    if kind == "smollm":
        head = pre_tokenizers.Digits(individual_digits=True)
    else:
        head = pre_tokenizers.Split(Regex(QWEN if kind == "qwen2" else LLAMA3), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([head, tail])
    if kind == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    special += ["[gMASK]", "<|user|>", "<|observation|>"] if kind == "glm4" else []
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("<|fim|>", normalized=False)])
    if kind == "llama-bpe":
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<|endoftext|> $A", pair="<|endoftext|> $A $B",
                                          special_tokens=[("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))])])
    elif kind == "qwen2":
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>",
                                                bos_token="<|endoftext|>", model_max_length=512)
    fast.chat_template = CHATML
    fast.save_pretrained(folder)
    return len(fast)


def pieces(folder):
    import sentencepiece
    text = folder / "text.txt"
    text.write_text("\n".join(TEXTS))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(folder / "tokenizer"), vocab_size=460, model_type="bpe", byte_fallback=True,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, minloglevel=2, user_defined_symbols=["<start_of_turn>", "<end_of_turn>"])
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    vocab = {processor.id_to_piece(i): i for i in range(len(processor))}
    ranked = sorted((i for i in range(len(processor)) if processor.get_score(i) < 0), key=lambda i: -processor.get_score(i))
    merges = [(p[:k], p[k:]) for p in map(processor.id_to_piece, ranked) for k in range(1, len(p)) if p[:k] in vocab and p[k:] in vocab]
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(["<pad>", "</s>", "<s>", "<unk>", "<start_of_turn>", "<end_of_turn>"])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", bos_token="<s>", unk_token="<unk>",
                                                pad_token="<pad>", add_bos_token=True, add_eos_token=False)
    fast.chat_template = CHATML
    fast.save_pretrained(folder)
    text.unlink()
    # Published models have this list; without it the converter would not know the special tokens.
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    config["added_tokens_decoder"] = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in added}
    path.write_text(json.dumps(config, indent=2))
    return 512


def pieces_with_merges(folder):
    """As Gemma 4 has them: no tokenizer.model, and as many tokens as rows of the embedding."""
    pieces(folder)
    (folder / "tokenizer.model").unlink()
    fast = transformers.AutoTokenizer.from_pretrained(folder)
    fast.add_tokens(["<|channel>", "<think>", "<|tool_call>"])
    fast.add_special_tokens({"extra_special_tokens": ["<turn|>", "<start_of_turn>"]})
    fast.save_pretrained(folder)
    return len(fast)


def pack_experts(folder):
    """Random MXFP4 experts in the place of plain ones, as gpt-oss is published."""
    from safetensors.torch import load_file, save_file
    path = folder / "model.safetensors"
    tensors, packed = load_file(path), {}
    for name, x in tensors.items():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            count, into, out = x.shape
            packed[f"{name}_blocks"] = torch.randint(0, 256, (count, out, into // 32, 16), dtype=torch.uint8)
            packed[f"{name}_scales"] = torch.randint(110, 124, (count, out, into // 32), dtype=torch.uint8)
        else:
            packed[name] = x
    save_file(packed, path, {"format": "pt"})
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": {
        "quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens",
                                                            "lm_head"]}}, indent=2))


def make(name, dtype):
    folder = work / f"{name}-{dtype}"
    folder.mkdir(parents=True, exist_ok=True)
    vocab = {"qwen2": lambda: byte_level(folder, "qwen2"), "qwen3": lambda: byte_level(folder, "qwen2"),
             "llama": lambda: byte_level(folder, "llama-bpe"), "smol": lambda: byte_level(folder, "smollm"),
             **dict.fromkeys(["mistral", "gemma3", "gemma2", "mixtral", "ernie4_5"], lambda: pieces(folder)),
             **dict.fromkeys(["gemma4", "gemma4_keys", "gemma4_experts"], lambda: pieces_with_merges(folder)),
             **dict.fromkeys(["glm4", "glm4_moe"], lambda: byte_level(folder, "glm4"))}.get(
                 name, lambda: byte_level(folder, "qwen2"))()
    common = dict(vocab_size=vocab, hidden_size=256, intermediate_size=512, num_hidden_layers=12, num_attention_heads=8,
                  num_key_value_heads=4, max_position_embeddings=512, bos_token_id=0, eos_token_id=2)
    t = transformers
    few = {**common, "num_hidden_layers": 4}
    experts = {**few, "num_experts_per_tok": 2, "intermediate_size": 256}
    half = dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.5)
    yarn = dict(rope_type="yarn", rope_theta=1e4, factor=4.0, original_max_position_embeddings=128)
    rope3 = dict(rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                 original_max_position_embeddings=128)
    config = {
        "qwen2": lambda: t.Qwen2Config(**common, tie_word_embeddings=True),
        "qwen3": lambda: t.Qwen3Config(**common, head_dim=64),
        "llama": lambda: t.LlamaConfig(**common, rope_parameters=rope3),
        # SmolLM2's widths: no multiples of 256
        "smol": lambda: t.LlamaConfig(**{**common, "hidden_size": 288, "num_attention_heads": 9, "num_key_value_heads": 3,
                                         "intermediate_size": 768}, tie_word_embeddings=True),
        "mistral": lambda: t.MistralConfig(**common, sliding_window=None),
        "gemma3": lambda: t.Gemma3TextConfig(**{**common, "num_hidden_layers": 8}, head_dim=32, sliding_window=64),
        "gemma2": lambda: t.Gemma2Config(**{**common, "num_hidden_layers": 4}, head_dim=32, query_pre_attn_scalar=32, sliding_window=64),
        "gemma4": lambda: t.Gemma4TextConfig(**{**common, "num_hidden_layers": 8}, head_dim=32, global_head_dim=64, sliding_window=64,
            hidden_size_per_layer_input=32, vocab_size_per_layer_input=vocab, num_kv_shared_layers=4, use_double_wide_mlp=True,
            final_logit_softcapping=30.0, layer_types=["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"] * 2),
        "gemma4_keys": lambda: t.Gemma4TextConfig(**{**common, "num_hidden_layers": 6}, head_dim=32, global_head_dim=64, sliding_window=64,
            hidden_size_per_layer_input=0, attention_k_eq_v=True, final_logit_softcapping=20.0, num_global_key_value_heads=2, tie_word_embeddings=False),
        "gemma4_experts": lambda: t.Gemma4TextConfig(**few, head_dim=32, global_head_dim=64, sliding_window=64, hidden_size_per_layer_input=0,
            attention_k_eq_v=True, final_logit_softcapping=30.0, num_global_key_value_heads=2, enable_moe_block=True, num_experts=6,
            top_k_experts=2, moe_intermediate_size=256),
        "granite": lambda: t.GraniteConfig(**common, embedding_multiplier=12.0, logits_scaling=8.0, residual_multiplier=0.22,
                                           attention_multiplier=0.0078125, tie_word_embeddings=True),
        "smollm3": lambda: t.SmolLM3Config(**{**common, "num_hidden_layers": 4}, tie_word_embeddings=True, pad_token_id=1),
        "seed_oss": lambda: t.SeedOssConfig(**common, head_dim=64, attention_dropout=0.0, residual_dropout=0.0),
        "olmo2": lambda: t.Olmo2Config(**common, pad_token_id=1),
        "olmo3": lambda: t.Olmo3Config(**{**common, "num_hidden_layers": 4}, sliding_window=64, pad_token_id=1),
        "exaone4": lambda: t.Exaone4Config(**{**common, "num_hidden_layers": 4}, sliding_window=64, rope_parameters=rope3),
        "phi3": lambda: t.Phi3Config(**few, pad_token_id=0, sliding_window=None, original_max_position_embeddings=128, rope_parameters=dict(
            rope_type="longrope", rope_theta=1e4, partial_rotary_factor=0.5, original_max_position_embeddings=128,
            short_factor=[1 + 0.1 * i for i in range(8)], long_factor=[1.0 + i for i in range(8)])),
        "phi3_window": lambda: t.Phi3Config(**few, pad_token_id=0, sliding_window=64, tie_word_embeddings=True),
        "glm4": lambda: t.Glm4Config(**few, head_dim=64, pad_token_id=0, rope_parameters=half),
        "ernie4_5": lambda: t.Ernie4_5Config(**few, head_dim=64, pad_token_id=0),
        "hunyuan": lambda: t.HunYuanDenseV1Config(**{**few, "max_position_embeddings": 32768}, head_dim=64, pad_token_id=0, eod_token_id=1,
            tie_word_embeddings=True, rope_parameters=dict(rope_type="dynamic", rope_theta=1e4, alpha=1000.0, factor=1.0)),
        "hunyuan_plain": lambda: t.HunYuanDenseV1Config(**few, head_dim=64, pad_token_id=0),
        "cohere2": lambda: t.Cohere2Config(**few, sliding_window=64, rotary_pct=1.0, pad_token_id=0),
        "ministral3": lambda: t.Ministral3Config(**few, head_dim=64, pad_token_id=0, rope_parameters={
            **yarn, "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}),
        "qwen3_moe": lambda: t.Qwen3MoeConfig(**experts, head_dim=64, num_experts=12, moe_intermediate_size=256, norm_topk_prob=True),
        "mixtral": lambda: t.MixtralConfig(**experts, num_local_experts=8, sliding_window=None),
        "olmoe": lambda: t.OlmoeConfig(**{**experts, "num_key_value_heads": 8}, num_experts=6, pad_token_id=0),
        "gpt_oss": lambda: t.GptOssConfig(**experts, head_dim=64, num_local_experts=4, sliding_window=64, pad_token_id=0,
            rope_parameters={**yarn, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False}),
        "gpt_oss_mxfp4": lambda: t.GptOssConfig(**experts, head_dim=64, num_local_experts=4, sliding_window=64, pad_token_id=0,
            rope_parameters={**yarn, "truncate": False}),
        "glm4_moe": lambda: t.Glm4MoeConfig(**{**experts, "intermediate_size": 512}, head_dim=64, pad_token_id=0, n_routed_experts=8, n_group=2,
            topk_group=1, moe_intermediate_size=256, n_shared_experts=1, first_k_dense_replace=1, routed_scaling_factor=1.5, use_qk_norm=True,
            attention_bias=True, rope_parameters=half),
        "qwen3_5": lambda: t.Qwen3_5TextConfig(**few, head_dim=64, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=64,
            linear_value_head_dim=64, rope_parameters={**half, "mrope_section": [6, 5, 5], "mrope_interleaved": True}),
        "qwen3_5_tied": lambda: t.Qwen3_5TextConfig(**few, head_dim=64, linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=64,
            linear_value_head_dim=64, tie_word_embeddings=True, rope_parameters=half),
        "qwen3_5_moe": lambda: t.Qwen3_5MoeTextConfig(**{k: v for k, v in experts.items() if k != "intermediate_size"}, head_dim=64, num_experts=6,
            moe_intermediate_size=256, shared_expert_intermediate_size=256, linear_num_key_heads=2, linear_num_value_heads=4,
            linear_key_head_dim=64, linear_value_head_dim=64, rope_parameters={**half, "mrope_section": [6, 5, 5], "mrope_interleaved": True}),
        "qwen3_next": lambda: t.Qwen3NextConfig(**experts, head_dim=64, num_experts=6, moe_intermediate_size=256, norm_topk_prob=True,
            shared_expert_intermediate_size=256, linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=64,
            linear_value_head_dim=64, rope_parameters=half),
        "qwen3_next_equal": lambda: t.Qwen3NextConfig(**experts, head_dim=64, num_experts=8, moe_intermediate_size=256, norm_topk_prob=True,
            shared_expert_intermediate_size=512, linear_num_key_heads=2, linear_num_value_heads=2, linear_key_head_dim=64,
            linear_value_head_dim=64, tie_word_embeddings=True, rope_parameters=half),
        "lfm2": lambda: t.Lfm2Config(**few, conv_L_cache=3, block_auto_adjust_ff_dim=True, block_multiple_of=256, pad_token_id=0,
            layer_types=["conv", "full_attention", "conv", "full_attention"]),
        "starcoder2": lambda: t.Starcoder2Config(**common, sliding_window=None),
    }[name]()
    torch.manual_seed(7)
    model = t.AutoModelForCausalLM.from_config(config)
    for p in model.parameters():
        if p.dim() == 1:
            torch.nn.init.normal_(p, 0.2, 0.3)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    if name == "gpt_oss_mxfp4":
        pack_experts(folder)
    ends = [1, 2] if name.startswith("hunyuan") else 2
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.7, "top_k": 20, "top_p": 0.8, "eos_token_id": ends}))
    if name.startswith("phi3"):  # the converter goes by what published folders are called
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": "GPT2Tokenizer"}, indent=2))
    (folder / "README.md").write_text("---\nbase_model: acme/Tiny-Chat-0.5B-v2\nlicense: apache-2.0\ntags:\n- sft\n"
                                      "datasets:\n- acme/talks\nlanguage:\n- en\npipeline_tag: text-generation\n---\n\n# Tiny\n")
    return folder


def convert(folder, pre, out, quant):
    """llama.cpp's converter, told how words are cut: it would know that by a hash that no tokenizer of ours has."""
    from conversion import base
    base.TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
    # Layers that predict further tokens are no part of what transformers loads and saves.
    ahead = ["--no-mtp"] if any(x in folder.name for x in ("qwen3_5", "qwen3_next", "glm4_moe")) else []
    sys.argv = ["convert", str(folder), "--outfile", str(out), "--outtype", quant, *ahead]
    runpy.run_path(str(llama_cpp / "convert_hf_to_gguf.py"), run_name="__main__")


def values(path):
    import gguf
    reader = gguf.GGUFReader(path)
    keys = {k: bytes(b"".join(p.tobytes() for p in f.parts[2:])) for k, f in reader.fields.items()}
    return keys, {t.name: t for t in reader.tensors}


def say(name, ours, theirs):
    a, b = ours.read_bytes(), theirs.read_bytes()
    if a == b:
        print(f"{name}: equal, {len(a)} bytes, {hashlib.sha256(a).hexdigest()[:16]}")
        return True
    (ka, ta), (kb, tb) = values(ours), values(theirs)
    for k in [*ka, *kb]:
        if ka.get(k) != kb.get(k):
            print(f"  {k}: ours {ka.get(k, b'-')[-60:]!r} theirs {kb.get(k, b'-')[-60:]!r}")
    if list(ka) != list(kb):
        print("  keys in order, ours:", list(ka), "theirs:", list(kb))
    if list(ta) != list(tb):
        print("  tensors in order, ours:", list(ta)[:6], "theirs:", list(tb)[:6])
    for n in set(ta) & set(tb):
        if ta[n].tensor_type != tb[n].tensor_type or ta[n].data.tobytes() != tb[n].data.tobytes():
            print(f"  {n}: {ta[n].tensor_type.name} and {tb[n].tensor_type.name} differ")
    print(f"{name}: DIFFERENT")
    return False


class QuantiseParams(ctypes.Structure):
    """The beginning of llama.h's struct, with room for the rest of any version."""
    _fields_ = [("threads", ctypes.c_int32), ("file_type", ctypes.c_int32), ("rest", ctypes.c_uint64 * 32)]


def by_llama_cpp(ggml, plain, quant):
    """The file that llama.cpp's quantiser makes of the converter's float32 file."""
    out = plain.with_name(f"theirs-{quant}.gguf")
    ggml.llama_model_quantize_default_params.restype = QuantiseParams
    params = ggml.llama_model_quantize_default_params()
    params.threads, params.file_type = 2, {"q4_0": 2, "q4_1": 3, "q4_k_m": 15, "q5_k_m": 17, "q6_k": 18}[quant]
    ggml.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
    if ggml.llama_model_quantize(str(plain).encode(), str(out).encode(), ctypes.byref(params)):
        raise RuntimeError(f"llama.cpp does not quantise {plain}")
    return out


def quantised(name, folder, plain):
    """Each tensor against ggml's quantiser on the converter's float32 values."""
    ggml = ctypes.CDLL(library, mode=os.RTLD_LAZY)
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    _, exact = values(plain)
    good = True
    for quant in ["q4_0", "q4_1", "q4_k_m", "q5_k_m", "q6_k"]:
        ours = folder / f"ours-{quant}.gguf"
        subprocess.run([sft, "export", folder, "--quant", quant, "--output", ours, "-q"], check=True)
        _, tensors = values(ours)
        kinds, wrong = {}, []
        for n, t in tensors.items():
            kind = t.tensor_type.name
            kinds[kind] = kinds.get(kind, 0) + 1
            if kind in ("F32", "F16"):
                continue
            if kind == "MXFP4":
                wrong += [n] if exact[n].data.tobytes() != t.data.tobytes() else []
                continue
            x = np.ascontiguousarray(exact[n].data, dtype=np.float32)
            out = np.zeros(t.data.nbytes, np.uint8)
            ggml.ggml_quantize_chunk(int(t.tensor_type), x.ctypes.data, out.ctypes.data, 0, x.size // x.shape[-1], x.shape[-1], None)
            if out.tobytes() != t.data.tobytes():
                wrong.append(n)
        if not any(kind == "MXFP4" for kind in kinds) and hasattr(ggml, "llama_model_quantize"):
            good &= say(f"{name} -> {quant}, the quantiser's file", ours, by_llama_cpp(ggml, plain, quant))
        print(f"{name} {quant}: {'equal' if not wrong else f'DIFFERENT {wrong}'}, {kinds}")
        good &= not wrong and set(tensors) == set(exact)
    return good


good = True
for family in os.environ.get("GGUF_FAMILIES", "qwen2 qwen3 llama smol mistral gemma3 gemma2 gemma4 gemma4_keys gemma4_experts granite smollm3 seed_oss olmo2 olmo3 exaone4 starcoder2 phi3 "
                             "phi3_window glm4 ernie4_5 hunyuan hunyuan_plain cohere2 ministral3 qwen3_moe mixtral olmoe gpt_oss gpt_oss_mxfp4 glm4_moe "
                             "qwen3_5 qwen3_5_tied qwen3_5_moe qwen3_next qwen3_next_equal lfm2").split():
    for dtype in os.environ.get("GGUF_DTYPES", "bfloat16 float32 float16").split():
        folder = make(family, dtype)
        pre = {"llama": "llama-bpe", "smol": "smollm", "glm4": "chatglm-bpe", "glm4_moe": "chatglm-bpe"}.get(family, "qwen2")
        for quant in ["f32", "f16", "bf16", "q8_0"]:
            theirs, ours = folder / f"theirs-{quant}.gguf", folder / f"ours-{quant}.gguf"
            convert(folder, pre, theirs, quant)
            subprocess.run([sft, "export", folder, "--quant", quant, "--output", ours, "-q"], check=True)
            good &= say(f"{family} {dtype} -> {quant}", ours, theirs)
        if library:
            good &= quantised(f"{family} {dtype}", folder, folder / "theirs-f32.gguf")
sys.exit(0 if good else 1)
