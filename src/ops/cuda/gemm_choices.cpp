#include "ops/cuda/gemm_choices.h"

#include <fmt/format.h>

#include <sstream>
#include <system_error>

#include "core/content_hash.h"
#include "core/error.h"
#include "core/file.h"
#include "core/file_writer.h"

namespace sft {

GemmChoices::GemmChoices(const std::filesystem::path& folder, const std::string& device)
    : header_(fmt::format("sft matrix products 2, cuBLASLt {}, {}", cublasLtGetVersion(), device)) {
  if (folder.empty()) {
    return;
  }
  std::string name = device;
  for (char& c : name) {
    c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '-';
  }
  file_ = folder / fmt::format("{}-{}.txt", name, cublasLtGetVersion());
  read();
}

GemmChoices::~GemmChoices() {
  if (!changed_ || file_.empty()) {
    return;
  }
  read();
  std::string text = header_ + "\n";
  for (const auto& [key, algorithm] : choices_) {
    text += fmt::format("{} {:x}\n", fmt::join(key, " "), fmt::join(algorithm.data, " "));
  }
  text += fmt::format("sum {}\n", ContentHash().add(text).hex());
  try {
    std::filesystem::create_directories(file_.parent_path());
    write_text(file_, text, Writers::many);
  } catch (const std::exception&) {  // NOLINT: see the header
  }
}

// One choice a line: the key in decimal, the algorithm's words in hexadecimal; then the sum of all
// that, without which nothing is believed: it is found out again. A choice that is already here
// stays.
void GemmChoices::read() {
  std::string text;
  try {
    text = is_file(file_) ? read_text(file_) : "";
  } catch (const Error&) {  // NOLINT: see the header
  }
  const size_t end = text.rfind("sum ");
  if (!text.starts_with(header_ + "\n") || end == std::string::npos ||
      text.substr(end) != fmt::format("sum {}\n", ContentHash().add(text.substr(0, end)).hex())) {
    return;
  }
  std::istringstream in(text.substr(header_.size() + 1, end - header_.size() - 1));
  std::string line;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    GemmKey key{};
    cublasLtMatmulAlgo_t algorithm{};
    for (int64_t& word : key) {
      words >> word;
    }
    words >> std::hex;
    for (uint64_t& word : algorithm.data) {
      words >> word;
    }
    if (words) {
      choices_.emplace(key, algorithm);
    }
  }
}

const cublasLtMatmulAlgo_t* GemmChoices::find(const GemmKey& key) const {
  const auto found = choices_.find(key);
  return found == choices_.end() ? nullptr : &found->second;
}

void GemmChoices::add(const GemmKey& key, const cublasLtMatmulAlgo_t& algorithm) {
  choices_.insert_or_assign(key, algorithm);
  changed_ = true;
}

}  // namespace sft
