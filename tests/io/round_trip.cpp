// round_trip SOURCE FOLDER [DTYPE]: opens a model, reads every weight, saves it, and prints what
// was changed and how long it took. For checking saved folders with transformers
// (tools/check_saved.py).

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>

#include "core/error.h"
#include "io/model_saver.h"

namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int round_trip(int argc, char** argv) {
  const auto start = std::chrono::steady_clock::now();
  const auto source =
      sft::ModelSource::open(argv[1], "", sft::HubEnvironment::read([](const char* name) {
                               return static_cast<const char*>(std::getenv(name));
                             }));
  fmt::print("opened  {:.3f} s  {}\n", seconds_since(start), source->format());
  sft::ThreadPool pool(sft::default_threads());
  std::vector<std::vector<float>> storage;
  std::vector<sft::NamedTensor> weights;
  size_t elements = 0;
  for (const std::string& name : source->names()) {
    storage.emplace_back(static_cast<size_t>(source->shape(name).elements()));
    elements += storage.back().size();
    weights.push_back({name, {storage.back().data(), source->shape(name), sft::DType::f32}});
  }
  for (int pass = 0; pass < 2; ++pass) {
    const auto begin = std::chrono::steady_clock::now();
    for (sft::NamedTensor& t : weights) {
      source->read_f32(t.name, t.tensor.f32(), &pool);
    }
    fmt::print("read    {:.3f} s  {:.1f} M parameters\n", seconds_since(begin),
               static_cast<double>(elements) / 1e6);
  }
  sft::SaveOptions options;
  options.dtype = argc > 3 ? sft::parse_dtype(argv[3]).value() : source->stored_dtype();
  const auto begin = std::chrono::steady_clock::now();
  const sft::SaveReport report =
      sft::save_model(argv[2], *source, sft::streamed(weights), options, &pool);
  fmt::print("saved   {:.3f} s\n", seconds_since(begin));
  for (const std::string& change : report.changes) {
    fmt::print("changed {}\n", change);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: round_trip SOURCE FOLDER [DTYPE]\n");
    return 2;
  }
  try {
    return round_trip(argc, argv);
  } catch (const sft::Error& e) {
    fmt::print(stderr, "{}\n", e.text());
    return static_cast<int>(e.exit_code());
  }
}
