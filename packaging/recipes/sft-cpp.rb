# Homebrew's formula of the CPU program on Linux; release.sh fills in what stands between @ signs. Not built there yet: what was
# checked is its syntax, and the commands in it by the project's own build.
class SftCpp < Formula
  desc "Supervised fine-tuning of language models, one native program"
  url "@SOURCE@"
  version "@VERSION@"
  sha256 "@SHA256@"
  license "Apache-2.0"

  depends_on "cmake" => :build
  depends_on "ninja" => :build
  depends_on "pkgconf" => :build
  depends_on "apache-arrow"
  depends_on "bzip2"
  depends_on "curl"
  depends_on "fmt"
  depends_on :linux
  depends_on "nlohmann-json"
  depends_on "onednn"
  depends_on "openssl@3"
  depends_on "pcre2"
  depends_on "simdjson"
  depends_on "utf8proc"
  depends_on "xz"
  depends_on "yaml-cpp"
  depends_on "zlib"
  depends_on "zstd"

  def install
    system "cmake", "-S", ".", "-B", "build", "-G", "Ninja", "-DSFT_CUDA=OFF", "-DSFT_TESTS=OFF", *std_cmake_args
    system "cmake", "--build", "build", "--target", "sft", "sft_pages"
    system "cmake", "--install", "build"
    pkgshare.install "examples"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/sft --version")
    system bin/"sft", "--model_name_or_path", pkgshare/"examples/tiny-model", "--max_steps", "2", "--use_cpu",
           "--dataset_name", pkgshare/"examples/data/shapes/alpaca.json", "--save_strategy", "no", "--output_dir", testpath/"out"
    assert_path_exists testpath/"out/model.safetensors"
  end
end
