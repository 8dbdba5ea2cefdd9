#include "io/safetensors_header.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <unordered_set>

#include "core/error.h"

namespace sft {

namespace {

// Receives the events of nlohmann's parser. Depth 1 holds the names, depth 2 the fields of one
// tensor (or the metadata), depth 3 the numbers of `shape` and `data_offsets`.
class Handler : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit Handler(std::string file) : file_(std::move(file)) {}

  SafetensorsHeader header;

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_float(double, const std::string&) override { return unexpected("a fraction"); }
  bool binary(binary_t&) override { return unexpected("binary data"); }
  bool number_integer(int64_t) override { return unexpected("a negative number"); }

  bool number_unsigned(uint64_t value) override {
    if (depth_ != 3) {
      return unexpected("a number");
    }
    if (value > uint64_t{1} << 62) {
      return unexpected("a number beyond 2^62");
    }
    numbers_.push_back(value);
    return true;
  }

  bool string(std::string& value) override {
    if (depth_ == 2 && in_metadata_) {
      header.metadata[field_] = value;
      return true;
    }
    if (depth_ != 2 || field_ != "dtype" || !current_.dtype.empty()) {
      return unexpected("a string");
    }
    current_.dtype = value;
    return true;
  }

  bool start_object(size_t) override {
    if (depth_ > 1) {
      return unexpected("an object");
    }
    ++depth_;
    if (depth_ == 2) {
      current_ = StoredTensor{};
      current_.name = name_;
      has_shape_ = has_offsets_ = false;
    }
    return true;
  }

  bool end_object() override {
    --depth_;
    if (depth_ == 1 && !in_metadata_) {
      if (current_.dtype.empty() || !has_shape_ || !has_offsets_) {
        fail("M202", fmt::format("tensor \"{}\" lacks dtype, shape or data_offsets", name_));
      }
      header.tensors.push_back(std::move(current_));
    }
    return true;
  }

  bool start_array(size_t) override {
    if (depth_ != 2 || in_metadata_ || (field_ != "shape" && field_ != "data_offsets")) {
      return unexpected("a list");
    }
    ++depth_;
    numbers_.clear();
    return true;
  }

  bool end_array() override {
    --depth_;
    if (field_ == "shape") {
      if (has_shape_) {
        return unexpected("a second shape");
      }
      has_shape_ = true;
      current_.shape.assign(numbers_.begin(), numbers_.end());
      return true;
    }
    if (has_offsets_ || numbers_.size() != 2 || numbers_[0] > numbers_[1]) {
      return unexpected("data_offsets that are not two growing numbers");
    }
    has_offsets_ = true;
    current_.begin = numbers_[0];
    current_.end = numbers_[1];
    return true;
  }

  bool key(std::string& value) override {
    if (depth_ == 1) {
      if (!seen_.insert(value).second) {
        fail("M203", fmt::format("the name \"{}\" stands twice in the header", value));
      }
      name_ = value;
      in_metadata_ = value == "__metadata__";
    } else {
      field_ = value;
    }
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    throw Error("M201", fmt::format("the header of {} is not valid JSON", file_))
        .at(fmt::format("{}@{}", file_, position + 7))
        .hint("the file is damaged; fetch or write it again");
  }

 private:
  [[noreturn]] void fail(Code code, const std::string& what) const {
    throw Error(code, fmt::format("{}: {}", file_, what))
        .hint("the file is damaged; fetch or write it again");
  }

  bool unexpected(const char* what) const {
    fail("M202", fmt::format("unexpected {} in the header, at tensor \"{}\", field \"{}\"", what,
                             name_, field_));
  }

  std::string file_, name_, field_;
  std::unordered_set<std::string> seen_;
  StoredTensor current_;
  std::vector<uint64_t> numbers_;
  int depth_ = 0;
  bool in_metadata_ = false, has_shape_ = false, has_offsets_ = false;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& file) {
  Handler handler(file);
  if (json.empty() || json.front() != '{') {
    throw Error("M201", fmt::format("the header of {} does not begin with {{", file))
        .hint("it is not a safetensors file, or it is damaged");
  }
  nlohmann::json::sax_parse(json.begin(), json.end(), &handler);
  return std::move(handler.header);
}

}  // namespace sft
