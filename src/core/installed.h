// Where the libraries that the program loads may lie: beside it, as the build leaves them; in the
// lib folder next to it, as packages lay them (bin/sft, lib/sft/); in NVIDIA's wheels, when it was
// installed by pip. Used by whoever loads one, and by `sft doctor`.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace sft {

// The places of one of our own libraries, in the order in which they are tried. The last is the
// bare name, which the system's loader looks for.
std::vector<std::filesystem::path> places_of(std::string_view library);

// The first of them that is there; empty when none is.
std::filesystem::path place_of(std::string_view library);

// A function of one of our own libraries, which is loaded from the first of its places where that
// can be done, and stays loaded: what it makes may outlive whoever asked.
struct LoadedFunction {
  void* function = nullptr;
  // Where it is null: the place where the library lies ("": nowhere), and what the loader says.
  std::string there{}, reason{};
};
LoadedFunction load_function(std::string_view library, const char* name);

// One of NVIDIA's libraries in the wheels (nvidia-cublas, nvidia-cudnn-cu13, ...) of the Python
// environment that the program was installed into; its bare name when they have none.
std::filesystem::path nvidia_library(std::string_view library);

}  // namespace sft
