"""Writes tests/io/golden/quantised: a small Llama as bitsandbytes saves it in 4 and 8 bits and in fine-grained float8,
and of each tensor the checksum of the values that it decodes to.

usage: python tools/golden/quantised_models.py      (transformers 5.24, bitsandbytes 0.50, accelerate, torch; on the CPU)
"""

import json
import pathlib
import shutil
import tempfile

import torch
import transformers
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from safetensors.torch import load_file, save_file

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/io/golden/quantised"
# 48 x 200: rows that are no whole blocks of 64 nor of 128.
SIZES = dict(vocab_size=40, hidden_size=48, intermediate_size=200, num_hidden_layers=1, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=False)


def fnv(values):
    h = 0xCBF29CE484222325
    for b in (values.float().contiguous() + 0.0).numpy().tobytes():  # a zero may have either sign
        h = ((h ^ b) * 0x100000001B3) % (1 << 64)
    return f"{h:016x}"


def sums(tensors):
    return {name: fnv(t) for name, t in tensors.items()}


def keep(name, folder, values):
    target = OUT / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        shutil.copy(folder / file, target / file)
    (target / "values.json").write_text(json.dumps(sums(values), indent=1) + "\n")


def bnb(name, folder, **settings):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, quantization_config=transformers.BitsAndBytesConfig(**settings))
    values = dict(model.state_dict())
    decoded = {}
    for module_name, module in model.named_modules():
        key = module_name + ".weight"
        if isinstance(module, Linear4bit):
            # As one row: bitsandbytes' loops for CPUs take wrong scales where rows are no whole blocks.
            state = module.weight.quant_state
            shape, state.shape, state.dtype = state.shape, torch.Size([1, state.shape.numel()]), torch.float32
            decoded[key] = dequantize_4bit(module.weight.data, state).reshape(shape)
            state.shape = shape
        elif isinstance(module, Linear8bitLt):
            w = module.weight
            decoded[key] = w.data.float() * w.SCB.unsqueeze(1).mul(1.0 / 127.0)
        elif key in values:
            decoded[key] = values[key]
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved)
        keep(name, pathlib.Path(saved), decoded)


def float8(name, folder):
    """What DeepSeek and Qwen publish: e4m3, a float32 scale for each 128 x 128."""
    weights = load_file(folder / "model.safetensors")
    stored, decoded = {}, {}
    for key, w in weights.items():
        if not ("proj" in key and "k_proj" not in key):
            stored[key] = decoded[key] = w
            continue
        scales = torch.empty((w.shape[0] + 127) // 128, (w.shape[1] + 127) // 128)
        codes, values = torch.empty(w.shape, dtype=torch.float8_e4m3fn), torch.empty(w.shape)
        for i in range(scales.shape[0]):
            for j in range(scales.shape[1]):
                part = (slice(128 * i, 128 * i + 128), slice(128 * j, 128 * j + 128))
                scales[i, j] = w[part].float().abs().max() / 448
                codes[part] = (w[part].float() / scales[i, j]).to(torch.float8_e4m3fn)
                values[part] = codes[part].float() * scales[i, j]
        stored[key], stored[key + "_scale_inv"], decoded[key] = codes, scales, values
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                                     "weight_block_size": [128, 128],
                                     "modules_to_not_convert": ["lm_head", "model.layers.0.self_attn.k_proj"]}
    with tempfile.TemporaryDirectory() as saved:
        saved = pathlib.Path(saved)
        save_file(stored, saved / "model.safetensors", metadata={"format": "pt"})
        (saved / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        keep(name, saved, decoded)


torch.manual_seed(3)
plain = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)).to(torch.bfloat16)
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    plain.save_pretrained(folder)
    keep("plain", folder, plain.state_dict())
    bnb("nf4_nested", folder, load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    bnb("fp4", folder, load_in_4bit=True, bnb_4bit_quant_type="fp4", bnb_4bit_quant_storage=torch.bfloat16)
    bnb("int8", folder, load_in_8bit=True)
    bnb("skips", folder, load_in_4bit=True, bnb_4bit_quant_type="nf4", llm_int8_skip_modules=["v_proj", "mlp"])
    float8("fp8", folder)
