#!/usr/bin/env bash
# What the released program has inside, as static libraries with their headers in a folder: oneDNN, Gloo, simdjson, fmt and curl
# are compiled from Debian's sources against the older C library of packaging/sysroot.sh; the others are Debian 12's own static
# libraries, which ask for nothing newer (the release checks it).
# usage: packaging/third_party.sh folder sysroot [amd64|arm64]      needs Debian's mirror and what tools/install_deps.sh build installs
set -euo pipefail
folder=$1
sysroot=$(realpath "$2")
architecture=${3:-amd64}
[ ! -e "$folder/.complete" ] || exit 0
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder/src" "$folder/lib" "$folder/include" "$folder/licenses"
folder=$(realpath "$folder")
export SFT_SYSROOT=$sysroot SFT_ARCHITECTURE=$architecture SFT_DEPS=$folder
jobs=${JOBS:-$(nproc)}

# name suite: the original source of a Debian package, unpacked in $folder/src/name.
mirror=${MIRROR:-$("$(dirname "$0")/../tools/debian_mirror.sh")}
source_of() {
  local name=$1 suite=$2 state=$folder/.apt-$2
  [ ! -e "$folder/src/$name" ] || return 0
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$state/sources.list"
  local options=(-qq -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::Lists="$state/lists"
                 -o Dir::Cache="$state/cache" -o APT::Sandbox::User=root)
  [ -e "$state/.updated" ] || { apt-get "${options[@]}" update; touch "$state/.updated"; }
  # The archive itself is enough: its hash stands in the signed list, Debian's patches are not used.
  mkdir -p "$state/$name"
  (cd "$state/$name" && { apt-get "${options[@]}" source --tar-only --download-only "$name" >&2 || true; } && mkdir -p "$folder/src/$name.part" &&
    tar -xf ./*.orig.tar.* -C "$folder/src/$name.part")
  local inside=("$folder/src/$name.part"/*)
  if [ ${#inside[@]} -eq 1 ]; then mv "${inside[0]}" "$folder/src/$name"; rmdir "$folder/src/$name.part"; else mv "$folder/src/$name.part" "$folder/src/$name"; fi
}

configure() {  # name, options of CMake
  local name=$1; shift
  cmake -S "$folder/src/$name" -B "$folder/src/$name-build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
    -DCMAKE_TOOLCHAIN_FILE="$here/toolchain.cmake" -DCMAKE_POSITION_INDEPENDENT_CODE=ON "$@" >"$folder/src/$name.log"
}
configure_and_build() {  # name, target, options of CMake
  local name=$1 target=$2; shift 2
  configure "$name" "$@"
  cmake --build "$folder/src/$name-build" -j "$jobs" --target "$target" >>"$folder/src/$name.log" || { tail -40 "$folder/src/$name.log"; exit 1; }
}

# The static libraries and headers of Debian 12's packages, whatever this machine has.
packages=(libbz2-1.0 zlib1g-dev libzstd-dev liblzma-dev libbz2-dev libpcre2-dev libutf8proc-dev libyaml-cpp-dev libssl-dev nlohmann-json3-dev)
if [ ! -e "$folder/.packages" ]; then
  state=$folder/.apt-packages
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/files"
  echo "deb [arch=$architecture signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" >"$state/sources.list"
  touch "$state/status"
  options=(-qq -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null -o APT::Architecture="$architecture"
           -o APT::Architectures="$architecture" -o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache"
           -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  (cd "$state/files" && apt-get "${options[@]}" download "${packages[@]}")
  for package in "$state"/files/*.deb; do dpkg-deb -x "$package" "$folder/debian"; done
  triplet=$(basename "$folder"/debian/usr/lib/*-linux-gnu)
  cp -r "$folder/debian/usr/include/." "$folder/include/"
  cp -r "$folder/include/$triplet/." "$folder/include/"
  rm -rf "${folder:?}/include/$triplet"
  cp "$folder/debian/usr/lib/$triplet/"*.a "$folder/lib/"
  cp "$("$triplet-gcc" -print-file-name=libgomp.a)" "$folder/lib/"
  for package in "$folder"/debian/usr/share/doc/*/copyright; do
    [ -e "$package" ] && cp -L "$package" "$folder/licenses/$(basename "$(dirname "$package")")"
  done
  touch "$folder/.packages"
fi

source_of curl trixie
source_of simdjson bookworm
source_of fmtlib bookworm
source_of gloo trixie
source_of onednn trixie

configure_and_build simdjson simdjson -DSIMDJSON_DEVELOPER_MODE=OFF
cp "$folder/src/simdjson-build/libsimdjson.a" "$folder/lib/"
cp "$folder/src/simdjson/singleheader/simdjson.h" "$folder/include/" 2>/dev/null || cp -r "$folder/src/simdjson/include/." "$folder/include/"

configure_and_build fmtlib fmt -DFMT_TEST=OFF -DFMT_DOC=OFF
cp "$folder/src/fmtlib-build/libfmt.a" "$folder/lib/"
cp -r "$folder/src/fmtlib/include/fmt" "$folder/include/"

configure_and_build gloo gloo
cp "$folder/src/gloo-build/gloo/libgloo.a" "$folder/lib/"
(cd "$folder/src/gloo" && find gloo -name '*.h' -exec cp --parents {} "$folder/include/" \;)
cp "$folder/src/gloo-build/gloo/config.h" "$folder/include/gloo/"

# The hub is asked over https and http alone.
configure_and_build curl libcurl_static -DBUILD_CURL_EXE=OFF -DHTTP_ONLY=ON -DCURL_USE_OPENSSL=ON -DCURL_USE_LIBSSH2=OFF -DUSE_NGHTTP2=OFF -DUSE_LIBIDN2=OFF \
  -DCURL_USE_LIBPSL=OFF -DCURL_BROTLI=OFF -DCURL_ZSTD=OFF -DCURL_DISABLE_LDAP=ON -DBUILD_TESTING=OFF \
  -DCURL_CA_BUNDLE=none -DCURL_CA_PATH=none
cp "$folder/src/curl-build/lib/libcurl.a" "$folder/lib/"
cp "$folder/src/curl/COPYING" "$folder/licenses/curl"
cp "$folder/src/gloo/LICENSE" "$folder/licenses/gloo"
cp "$folder/src/simdjson/LICENSE" "$folder/licenses/simdjson"
cp "$folder/src/fmtlib/LICENSE"* "$folder/licenses/fmtlib"
cp -r "$folder/src/curl/include/curl" "$folder/include/"

# One function of it is used, which multiplies matrices of float32 in the thread that calls it: its files and what they stand on.
# They write the code of the kernels when they run, so that the compiler's own effort is spared; what they name of other types lies
# in sections of its own, which the program's linker leaves out.
configure onednn -DONEDNN_LIBRARY_TYPE=STATIC -DONEDNN_CPU_RUNTIME=SEQ -DONEDNN_BUILD_TESTS=OFF -DONEDNN_BUILD_EXAMPLES=OFF \
  -DONEDNN_BUILD_GRAPH=OFF -DONEDNN_ENABLE_WORKLOAD=INFERENCE -DONEDNN_ENABLE_PRIMITIVE=MATMUL -DONEDNN_ENABLE_ITT_TASKS=OFF \
  -DONEDNN_ENABLE_JIT_PROFILING=OFF -DONEDNN_ENABLE_PRIMITIVE_CACHE=OFF \
  -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG -ffunction-sections -fdata-sections"
common='dnnl_common.dir/(gemm|utils|verbose|memory_debug|dnnl_thread|rw_mutex|dnnl_debug|bfloat16|float)'
shared='dnnl_cpu.dir/(platform|jit_utils/jit_utils|gemm/gemm|gemm/f32/[a-z0-9_]*)\.cpp'
own='dnnl_cpu_x64.dir/(cpu_isa_traits|amx_tile|gemm/gem[mv]_(info|driver)|gemm/f32/|gemm/s8x8s32/jit_avx512_core_gemv_s8x8s32)'
mapfile -t objects < <(ninja -C "$folder/src/onednn-build" -t targets all | sed -n 's/\(.*cpp\.o\): .*/\1/p' | grep -E "$common|$shared|$own")
ninja -C "$folder/src/onednn-build" -j "$jobs" "${objects[@]}" >>"$folder/src/onednn.log" || { tail -40 "$folder/src/onednn.log"; exit 1; }
rm -f "$folder/lib/libdnnl.a"
(cd "$folder/src/onednn-build" && ar rcsD "$folder/lib/libdnnl.a" "${objects[@]}")
cp "$folder/src/onednn/LICENSE" "$folder/licenses/onednn"

# For the list of what is inside a release.
{
  for package in "$folder"/.apt-packages/files/*-dev_*.deb; do dpkg-deb -f "$package" Package Version | sed 's/.*: //' | paste -d' ' - -; done
  for source in curl gloo onednn simdjson fmtlib; do
    echo "$source $(basename "$folder"/.apt-*/"$source"/*.orig.tar.?z | sed -E 's/^[^_]*_(.*)\.orig.*/\1/')"
  done
  echo "gcc $(gcc -dumpfullversion)"
} >"$folder/versions"
touch "$folder/.complete"
