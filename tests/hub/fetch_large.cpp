// Fetches a.bin of org/name, as another process of the same machine does that shares the cache.
// usage: hub_fetch_large ENDPOINT CACHE
#include <cstdio>

#include "core/error.h"
#include "hub/repository.h"

int main(int count, char** words) {
  if (count != 3) {
    return 2;
  }
  sft::HubEnvironment e;
  e.endpoint = words[1];
  e.hf_hub_cache = words[2];
  e.backoff_seconds = 0.01;
  e.part_bytes = 256 << 10;
  e.connections = 2;
  try {
    sft::HubRepository(sft::HubKind::model, "org/name", "", e).fetch({"a.bin"});
  } catch (const sft::Error& error) {
    std::fprintf(stderr, "%s\n", error.text().c_str());
    return 1;
  }
  return 0;
}
