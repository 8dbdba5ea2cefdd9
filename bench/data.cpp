// Times the preparation of a data set up to its batches, without a model.
//   data_bench TOKENIZER_DIR TEMPLATE.jinja DATA THREADS [packing] [max_length]
#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <ctime>

#include "core/error.h"
#include "core/file.h"
#include "core/strings.h"
#include "data/dataset.h"
#include "data/tokens/loader.h"

using namespace sft;

namespace {

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Of all threads; on a shared machine it says more than the clock on the wall.
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

int run(int argc, char** argv) {
  const fs::path folder = argv[1];
  const Json config = read_json(folder / "tokenizer_config.json");
  const Tokenizer tokenizer =
      Tokenizer::from_text(read_text(folder / "tokenizer.json"), config, "tokenizer.json");
  const ChatTemplate chat(read_text(argv[2]), Json{{"eos_token", tokenizer.eos_token()}});
  ThreadPool pool(std::atoi(argv[4]));
  const Logger log(Logger::Level::notes,
                   [](Logger::Level, std::string_view line) { fmt::print(stderr, "{}\n", line); });
  DataOptions options;
  options.dataset_name = argv[3];
  options.packing = argc > 5 && std::string_view(argv[5]) == "packing";
  options.max_length = argc > 6 ? std::atoll(argv[6]) : 1024;
  const double start = seconds(), cpu_start = cpu_seconds();
  const Prepared data =
      prepare_dataset(options, Part::train, {tokenizer, &chat, pool, log, {}, 42});
  Loader loader(*data.rows, {.per_device_batch = 8});
  int64_t tokens = 0;
  for (int64_t step = 0; step < loader.steps_per_epoch(); ++step) {
    for (const MicroBatch& batch : loader.next()) {
      tokens += batch.num_tokens;
    }
  }
  const double took = seconds() - start, cpu = cpu_seconds() - cpu_start;
  const auto rows = static_cast<double>(data.statistics.rows_read);
  fmt::print(
      "{} threads: {} rows, {} tokens in batches, {:.2f} s: {:.0f} rows/s, {:.2f} M tokens/s; CPU "
      "{:.2f} s: {:.0f} rows/s\n",
      pool.size(), rows, tokens, took, rows / took, static_cast<double>(tokens) / took / 1e6, cpu,
      rows / cpu);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) {
    fmt::print(stderr,
               "data_bench TOKENIZER_DIR TEMPLATE.jinja DATA THREADS [packing] [max_length]\n");
    return 2;
  }
  try {
    return run(argc, argv);
  } catch (const Error& e) {
    fmt::print(stderr, "{}\n", e.text());
    return 1;
  }
}
