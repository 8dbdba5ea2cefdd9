// Makes the broken folders for tests/peers/check.py.
// usage: check_probe SOUND FOLDER
#include <cstdio>

#include "run/broken_folders.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: check_probe SOUND FOLDER\n", stderr);
    return 2;
  }
  sft::testing::make_broken_folders(argv[1], argv[2]);
  for (const sft::testing::Fault& fault : sft::testing::faults()) {
    std::puts(fault.name.c_str());
  }
  return 0;
}
