"""Writes tests/model/golden/<family>/: a tiny random model of each family and what transformers computes with it.

usage: python tools/golden/families.py [family ...]          (torch, transformers 5, safetensors)

Each folder holds config.json and model.safetensors as transformers saves them (families ending in `_old` have the config
keys of transformers 4) and expected.json:
  documents      token ids and labels, each document run on its own; the label of a token is predicted at the token before
                 it, -100 is not trained, and the label of a document's first token is never a target
  logits         per document: values[i][j] is the logit of token cols[j] at position rows[i]
  loss, targets  sum of the cross entropies of all documents over the number of trained targets, and that number
  gradients      of the loss, for every parameter under its Hugging Face name: shape, sum, sum of squares, first 8 values
"""

import json
import pathlib
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/model/golden"
LENGTHS = (23, 40)

SMALL = dict(
    vocab_size=128, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.08, rms_norm_eps=1e-6,
    bos_token_id=1, eos_token_id=2, pad_token_id=None, use_cache=True,
)  # fmt: skip


def plain_rope(theta):
    return {"rope_type": "default", "rope_theta": theta}


LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16}
YARN_TUNED = {**YARN, "beta_fast": 16.0, "beta_slow": 2.0, "mscale": 1.0, "mscale_all_dim": 0.5}
GEMMA_ROPE = {
    "sliding_attention": plain_rope(10000.0),
    "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
}
GEMMA = dict(
    num_hidden_layers=3, head_dim=12, sliding_window=8, query_pre_attn_scalar=20,
    hidden_activation="gelu_pytorch_tanh", layer_types=["sliding_attention", "sliding_attention", "full_attention"],
)  # fmt: skip

# family: (configuration class, its settings, what the older config style changes or None for the newer style)
FAMILIES = {
    "qwen2": ("Qwen2Config", dict(tie_word_embeddings=True, rope_parameters=plain_rope(1e6), use_sliding_window=False,
                                  sliding_window=None), None),
    "qwen2_old": ("Qwen2Config", dict(tie_word_embeddings=False, rope_parameters=plain_rope(1e6), use_sliding_window=False,
                                      sliding_window=None),
                  {"sliding_window": 8, "max_window_layers": 1, "use_sliding_window": False}),
    "qwen2_window": ("Qwen2Config", dict(tie_word_embeddings=True, rope_parameters=plain_rope(1e4),
                                         use_sliding_window=True, sliding_window=8, max_window_layers=1), None),
    "llama3": ("LlamaConfig", dict(tie_word_embeddings=False, rope_parameters=LLAMA3), None),
    "llama3_old": ("LlamaConfig", dict(tie_word_embeddings=True, rope_parameters=LLAMA3), {}),
    "llama_linear": ("LlamaConfig", dict(tie_word_embeddings=False, rope_parameters={
        "rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5}), None),
    "llama_yarn": ("LlamaConfig", dict(tie_word_embeddings=False, rope_parameters=YARN, head_dim=16, max_position_embeddings=64), None),
    "llama_yarn_tuned": ("LlamaConfig", dict(tie_word_embeddings=False, rope_parameters=YARN_TUNED, head_dim=16,
                                               max_position_embeddings=64), None),
    "smollm2": ("LlamaConfig", dict(tie_word_embeddings=True, rope_parameters=plain_rope(1e5), hidden_size=36,
                                    num_attention_heads=3, num_key_value_heads=1, rms_norm_eps=1e-5),
                {"rope_interleaved": False, "is_llama_config": True, "rope_scaling": None}),
    "qwen3": ("Qwen3Config", dict(tie_word_embeddings=True, rope_parameters=plain_rope(1e6), head_dim=16,
                                  use_sliding_window=False, sliding_window=None), None),
    "mistral": ("MistralConfig", dict(tie_word_embeddings=False, rope_parameters=plain_rope(1e4), sliding_window=8,
                                      head_dim=12), None),
    "gemma3": ("Gemma3TextConfig", dict(tie_word_embeddings=True, rope_parameters=GEMMA_ROPE, **GEMMA), None),
    "gemma3_old": ("Gemma3TextConfig", dict(tie_word_embeddings=True, rope_parameters=GEMMA_ROPE, **GEMMA),
                   {"rope_local_base_freq": 10000.0, "sliding_window_pattern": 3, "attn_logit_softcapping": None,
                    "final_logit_softcapping": None}),
}  # fmt: skip


def rounded(values, digits=7):
    return [float(f"{v:.{digits}g}") for v in values]


def older_style(config, changes):
    """The same model as transformers 4 wrote its configuration."""
    config = dict(config)
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.51.3"
    config.pop("layer_types", None)
    config.pop("_sliding_window_pattern", None)
    rope = config.pop("rope_parameters")
    rope = dict(rope.get("full_attention", rope))
    config["rope_theta"] = rope.pop("rope_theta")
    if rope["rope_type"] != "default":
        config["rope_scaling"] = rope
    config.update(changes)
    return dict(sorted(config.items()))


def randomise(model):
    """Norm weights and biases away from their ones and zeros, so that a forgotten one shows."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.normal_(0.0, 0.1)
        elif parameter.dim() == 1:
            parameter.data.add_(torch.randn_like(parameter) * 0.15)


def documents(vocab):
    generator = torch.Generator().manual_seed(5)
    for length in LENGTHS:
        ids = torch.randint(3, vocab, (length,), generator=generator)
        masked = torch.rand(length, generator=generator) < 0.35
        masked[: length // 4] = True
        yield ids, torch.where(masked, torch.tensor(-100), ids)


def expectations(model):
    rows = []
    logits_out = []
    total, count = 0.0, 0
    cols = list(range(0, model.config.vocab_size, 3))
    for ids, labels in documents(model.config.vocab_size):
        logits = model(ids[None]).logits[0].float()
        total = total + torch.nn.functional.cross_entropy(logits[:-1], labels[1:], ignore_index=-100, reduction="sum")
        count += int((labels[1:] != -100).sum())
        kept = list(range(0, len(ids), 3)) + ([len(ids) - 1] if (len(ids) - 1) % 3 else [])
        logits_out.append({"rows": kept, "cols": cols, "values": [rounded(logits[r, cols].tolist()) for r in kept]})
        rows.append({"input_ids": ids.tolist(), "labels": labels.tolist()})
    loss = total / count
    loss.backward()
    gradients = {}
    for name, parameter in model.named_parameters():
        g = parameter.grad.double().flatten()
        gradients[name] = {
            "shape": list(parameter.shape),
            "sum": float(f"{g.sum().item():.8g}"),
            "square": float(f"{g.square().sum().item():.8g}"),
            "first": rounded(g[:8].tolist()),
        }
    return {
        "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
        "documents": rows,
        "logits": logits_out,
        "loss": float(f"{loss.item():.8g}"),
        "targets": count,
        "gradients": gradients,
    }


def write_family(name):
    kind, settings, old = FAMILIES[name]
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    config = getattr(transformers, kind)(**{**SMALL, **settings})
    torch.manual_seed(sum(map(ord, name.removesuffix("_old"))))
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    randomise(model)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if old is not None:
        path = folder / "config.json"
        path.write_text(json.dumps(older_style(json.loads(path.read_text()), old), indent=2) + "\n")
    saved = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    ids = torch.arange(3, 40)[None]
    difference = (saved(ids).logits - model(ids).logits).abs().max().item()
    if difference > 1e-6:
        raise SystemExit(f"{name}: the saved folder computes something else (by {difference})")
    saved.zero_grad()
    expected = expectations(saved)
    lines = json.dumps(expected, separators=(",", ":")).replace('],"cols"', '],\n"cols"').replace("],[", "],\n[")
    (folder / "expected.json").write_text(lines.replace('},"', '},\n"') + "\n")
    sizes = {p.name: p.stat().st_size for p in folder.iterdir()}
    print(f"{name}: loss {expected['loss']:.6f}, {expected['targets']} targets, {sizes}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for family in sys.argv[1:] or FAMILIES:
        write_family(family)
