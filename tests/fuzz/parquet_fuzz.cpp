// Any bytes as a parquet or (first byte even) arrow file. Faults inside Apache Arrow itself would
// show here too.
#include <cstdio>
#include <cstdlib>

#include "data/read/reader.h"
#include "fuzz/support.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sft;
  if (size == 0) {
    return 0;
  }
  const auto path = fuzz::file_with({reinterpret_cast<const char*>(data) + 1, size - 1},
                                    data[0] % 2 == 0 ? "rows.arrow" : "rows.parquet");
  return fuzz::accepts([&] {
    try {
      const auto reader = open_reader(path);
      int rows = 0;
      for (RawRow row; rows < 10000 && reader->next(row); ++rows) {
        row.json();
      }
    } catch (const Error& e) {
      if (e.code() == "D020") {  // built without Apache Arrow: nothing would be tried
        std::fprintf(stderr, "%s\n", e.what());
        std::abort();
      }
      throw;
    }
  });
}
