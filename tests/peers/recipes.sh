#!/usr/bin/env bash
# The recipes for conda-forge and Homebrew, filled in: rattler-build renders the first for Linux, Ruby parses the second.
# usage: recipes.sh python-with-py-rattler-build      needs ruby; no network
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for recipe in packaging/recipes/*; do
  sed "s|@VERSION@|0.1.0|; s|@SOURCE@|https://example.com/sft-cpp-0.1.0-source.tar.gz|; s|@SHA256@|$(printf '0%.0s' {1..64})|" "$recipe" >"$folder/$(basename "$recipe")"
  ! grep -n '@[A-Z0-9]*@' "$folder/$(basename "$recipe")" || { echo "$recipe: not filled in"; exit 1; }
done
ruby -wc "$folder/sft-cpp.rb"
"$python" - "$folder/recipe.yaml" <<'END'
import pathlib, sys
import rattler_build as rb
recipe = rb.Stage0Recipe.from_yaml(pathlib.Path(sys.argv[1]).read_text())
variants = rb.VariantConfig({"c_compiler": ["gcc"], "cxx_compiler": ["gxx"], "c_stdlib": ["sysroot"], "c_stdlib_version": ["2.17"]})
rendered = recipe.render(variants, rb.RenderConfig(platform=rb.PlatformConfig(target_platform="linux-64")))
assert len(rendered) == 1, rendered
made = rendered[0].recipe
assert (made.package.name, str(made.package.version)) == ("sft-cpp", "0.1.0"), made.package
print(f"rattler-build {rb.rattler_build_version()}: renders {made.package.name} {made.package.version}")
END
