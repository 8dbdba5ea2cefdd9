// Any bytes as a data file of rows in text: the first byte chooses the format.
#include "data/read/reader.h"
#include "fuzz/support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  if (size == 0) {
    return 0;
  }
  constexpr const char* kNames[] = {"rows.jsonl", "rows.json", "rows.csv", "rows.txt"};
  const auto path =
      fuzz::file_with({reinterpret_cast<const char*>(data) + 1, size - 1}, kNames[data[0] % 4]);
  return fuzz::accepts([&] {
    const auto reader = open_reader(path);
    for (RawRow row; reader->next(row);) {
      row.json();
    }
  });
}
