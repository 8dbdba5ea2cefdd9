"""Writes tests/io/golden/{gemma3,mistral3}_whole{,_new} and {gemma4,gemma4_experts,qwen3_5,qwen3_5_moe}_whole_new: tiny models with towers that see (and hear), as published and as in memory.

usage: python tools/golden/whole_models.py          (torch, transformers 5.24, safetensors)

Each folder has config.json, model.safetensors and expected.json: the logits of some token ids (rows, cols, values), which no picture
is among. Those ending in `_new` name tensors as transformers 5 does in memory (model.language_model.), the others as files are published
(language_model.model.).
"""

import json
import pathlib

import safetensors.torch
import torch
import transformers

from families import FAMILIES, GEMMA, GEMMA_ROPE, MINISTRAL, SMALL, randomise, rounded

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests/io/golden"
TEXT = {k: v for k, v in SMALL.items() if k not in ("use_cache",)}
VISION = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)


def gemma3():
    text = dict(TEXT, **GEMMA, rope_parameters=GEMMA_ROPE)
    return transformers.Gemma3Config(text_config=text, vision_config=VISION, mm_tokens_per_image=4, image_token_index=127,
                                     boi_token_index=125, eoi_token_index=126)  # fmt: skip


def gemma4(case="gemma4"):
    text = {**TEXT, **FAMILIES[case][1], "pad_token_id": 0}
    vision = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, head_dim=8,
                  patch_size=4, position_embedding_size=16)  # fmt: skip
    audio = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, subsampling_conv_channels=[4, 2], output_proj_dims=32)
    return transformers.Gemma4Config(text_config=text, vision_config=vision, audio_config=audio, image_token_id=127, video_token_id=126,
                                     audio_token_id=125, boi_token_id=124, eoi_token_id=123, boa_token_id=122,
                                     eoa_token_index=121)  # fmt: skip


def gemma4_experts():
    return gemma4("gemma4_experts")


def mistral3():
    text = dict(TEXT, model_type="ministral3", rope_parameters=MINISTRAL, head_dim=16, tie_word_embeddings=False)
    vision = dict(VISION, model_type="pixtral", head_dim=8)
    return transformers.Mistral3Config(text_config=text, vision_config=vision, image_token_index=127, tie_word_embeddings=False)


def qwen3_5():
    text = dict(TEXT, **FAMILIES["qwen3_5"][1])
    vision = dict(hidden_size=16, intermediate_size=24, depth=1, num_heads=2, out_hidden_size=32, num_position_embeddings=16)
    return transformers.Qwen3_5Config(text_config=text, vision_config=vision, image_token_id=127, video_token_id=126,
                                      vision_start_token_id=125, vision_end_token_id=124, tie_word_embeddings=True)  # fmt: skip


def qwen3_5_moe():
    text = dict(TEXT, **FAMILIES["qwen3_5_moe"][1])
    text.pop("intermediate_size")
    vision = dict(hidden_size=16, intermediate_size=24, depth=1, num_heads=2, out_hidden_size=32, num_position_embeddings=16)
    return transformers.Qwen3_5MoeConfig(text_config=text, vision_config=vision, image_token_id=127, video_token_id=126,
                                         vision_start_token_id=125, vision_end_token_id=124, tie_word_embeddings=False)  # fmt: skip


def published_name(name):
    """As transformers 4 saves it."""
    for new, old in (("model.language_model.", "language_model.model."), ("lm_head.", "language_model.lm_head."),
                     ("model.", "")):  # fmt: skip
        if name.startswith(new):
            return old + name.removeprefix(new)
    return name


def write(name, config, renames=(("", published_name), ("_new", str))):
    torch.manual_seed(sum(map(ord, name)))
    model = transformers.AutoModelForImageTextToText.from_config(config, attn_implementation="eager", dtype=torch.float32)
    randomise(model)
    model.eval()
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
    rows, cols = list(range(0, 37, 5)), list(range(0, 125, 7))
    expected = {"input_ids": ids[0].tolist(), "rows": rows, "cols": cols,
                "values": [rounded(logits[r, cols].tolist()) for r in rows]}  # fmt: skip
    tensors = {k: v for k, v in model.state_dict().items() if not (k.startswith("lm_head") and config.tie_word_embeddings)}
    for suffix, rename in renames:
        folder = OUT / f"{name}_whole{suffix}"
        folder.mkdir(parents=True, exist_ok=True)
        config.architectures = [type(model).__name__]
        config.save_pretrained(folder)
        named = {rename(k): v.contiguous().clone() for k, v in tensors.items()}
        # What is carried is carried in its own type.
        named = {k: v.to(torch.bfloat16) if any(word in k for word in ("vision", "visual", "audio")) else v for k, v in named.items()}
        safetensors.torch.save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "expected.json").write_text(json.dumps(expected) + "\n")
        again = transformers.AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
        with torch.no_grad():
            difference = (again(input_ids=ids).logits[0] - logits).abs().max().item()
        if difference > 1e-6:
            raise SystemExit(f"{folder}: the saved folder computes something else (by {difference})")
        print(folder.name, len(named), "tensors", sorted(named)[:2])


if __name__ == "__main__":
    torch.set_num_threads(1)
    write("gemma3", gemma3())
    write("mistral3", mistral3())
    # Published with the names that they have in memory, and with a layer's experts in two tensors.
    for name, config in (("qwen3_5", qwen3_5()), ("qwen3_5_moe", qwen3_5_moe()), ("gemma4", gemma4()),
                         ("gemma4_experts", gemma4_experts())):  # fmt: skip
        write(name, config, [("_new", str)])
