"""Adapters on experts beside PEFT, for every family that has experts, on the linear layers of Gemma 4's other forms, and on a text part's.

usage: python tests/peers/expert_adapters.py build/sft [case ...]     (peft 0.21, transformers 5.24, trl 1.16, torch, datasets; on the CPU)

For each case a tiny random model, and an adapter of random numbers on its attention and its experts that PEFT has saved. What is compared:
- the weights that `sft merge` writes with those of merge_and_unload, and the logits of both folders in transformers;
- the adapter that sft goes on training from it (two steps with a learning rate of 0) with what it began with: the same tensors and values;
- the adapter that sft trains from its own beginning, loaded by PEFT, with the merged model: the same logits.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tools"))

import check_families  # noqa: E402
import torch  # noqa: E402
from peft import LoraConfig, PeftModel, get_peft_model  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText  # noqa: E402

CASES = ["qwen3_moe", "mixtral", "olmoe", "gpt_oss", "gpt_oss_mxfp4", "glm4_moe", "qwen3_next", "qwen3_5_moe", "gemma4_experts",
         "gemma4_experts_words"]  # fmt: skip
WHOLE = ["gemma4_experts_whole"]  # with towers, which get none: names as PEFT sees them
DENSE = ["gemma4_published", "gemma4_keys", "gemma4_keys_shared"]
PARAMETERS = ["experts.gate_up_proj", "experts.down_proj"]
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj"]
DENSE_MODULES = [*MODULES, "gate_proj", "up_proj", "down_proj", "per_layer_input_gate", "per_layer_projection"]
TOKENS = torch.arange(3, 43).reshape(2, 20)
DATA = HERE.parents[1] / "tests/golden/data/pairs"


def in_mxfp4(folder):
    """The experts' matrices in any codes, as gpt-oss is published; hidden sizes are multiples of 32."""
    weights, generator = load_file(folder / "model.safetensors"), torch.Generator().manual_seed(4)
    for name in [n for n in weights if ".experts." in n and n.endswith("_proj")]:
        count, wide, rows = weights.pop(name).shape
        shape = (count, rows, wide // 32)
        weights[name + "_blocks"] = torch.randint(0, 256, (*shape, 16), generator=generator, dtype=torch.uint8)
        weights[name + "_scales"] = torch.randint(120, 124, shape, generator=generator, dtype=torch.uint8)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    (folder / "config.json").write_text(json.dumps(config))


def load(folder):
    whole = "text_config" in json.loads((folder / "config.json").read_text())
    kind = AutoModelForImageTextToText if whole else AutoModelForCausalLM
    return kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def run(program, *words):
    done = subprocess.run([str(w) for w in (program, *words)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])


def train(program, folder, out, *more):
    run(program, "--model_name_or_path", folder, "--dataset_name", DATA, "--output_dir", out, "--use_peft", "--max_steps", 2,
        "--per_device_train_batch_size", 2, "--max_length", 48, "--bf16", "false", "--use_cpu", "--report_to", "none",
        "--save_strategy", "no", *more)  # fmt: skip


def check(program, case, place):
    folder = place / "model"
    folder.mkdir()
    mxfp4 = case.endswith("_mxfp4")
    name = case.removesuffix("_mxfp4")
    if mxfp4:
        check_families.families.FAMILIES[name][1].update(intermediate_size=64)
    check_families.make_folder(name, folder)
    if mxfp4:
        in_mxfp4(folder)
    modules, parameters = (DENSE_MODULES, None) if case in DENSE else (MODULES, PARAMETERS)
    named = rf"model\.language_model\..*\.({'|'.join(modules)})" if case in WHOLE else modules
    config = LoraConfig(r=4, lora_alpha=8, target_modules=named, target_parameters=parameters, task_type="CAUSAL_LM")
    model = get_peft_model(load(folder), config)
    torch.manual_seed(9)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0.0, 0.3)
    model.save_pretrained(place / "adapter")
    with torch.no_grad():
        want = model.eval()(TOKENS).logits
        base = load(folder)(TOKENS).logits
    theirs = model.merge_and_unload().state_dict()

    run(program, "merge", "--model_name_or_path", folder, "--adapter", place / "adapter", "--output_dir", place / "merged", "--dtype", "float32")
    merged = load(place / "merged").eval()
    weights = max((value - theirs[key]).abs().max().item() for key, value in merged.state_dict().items())
    with torch.no_grad():
        logits = (merged(TOKENS).logits - want).abs().max().item()

    train(program, place / "adapter", place / "again", "--learning_rate", 0)
    before, after = (load_file(f / "adapter_model.safetensors") for f in (place / "adapter", place / "again"))
    same = set(before) == set(after) and all(torch.equal(before[key], after[key]) for key in before)

    train(program, folder, place / "own", "--learning_rate", 1e-2, "--lora_r", 4, "--lora_dropout", 0, "--lora_target_modules",
          *([named] if case in WHOLE else modules), *(["--lora_target_parameters", *parameters] if parameters else []))  # fmt: skip
    run(program, "merge", "--model_name_or_path", folder, "--adapter", place / "own", "--output_dir", place / "own_merged", "--dtype", "float32")
    with torch.no_grad():
        in_peft = PeftModel.from_pretrained(load(folder), place / "own").eval()(TOKENS).logits
        own = (load(place / "own_merged").eval()(TOKENS).logits - in_peft).abs().max().item()
        moved = (in_peft - base).abs().max().item()
    good = weights < 2e-6 and logits < 1e-4 and same and own < 1e-4 and moved > 1e-3
    print(f"{'ok  ' if good else 'FAIL'} {case}: merged weights within {weights:.1e}, logits {logits:.1e} (moved by "
          f"{(want - base).abs().max().item():.2f}); PEFT's folder {'comes back as it was' if same else 'CHANGES'}; sft's in PEFT {own:.1e} "
          f"(moved by {moved:.2f})", flush=True)  # fmt: skip
    return good


if __name__ == "__main__":
    torch.set_num_threads(1)
    program = pathlib.Path(sys.argv[1]).resolve()
    bad = []
    for case in sys.argv[2:] or CASES + DENSE + WHOLE:
        with tempfile.TemporaryDirectory() as place:
            try:
                good = check(program, case, pathlib.Path(place))
            except Exception as problem:
                good = print(f"FAIL {case}: {type(problem).__name__}: {str(problem)[-900:]}")
            bad += [] if good else [case]
    sys.exit(f"{len(bad)} cases differ: {bad}" if bad else 0)
