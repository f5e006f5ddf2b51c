// Writes what libFuzzer begins with.

#ifndef DEWEATHER_TESTS_FUZZ_SEEDS_H_
#define DEWEATHER_TESTS_FUZZ_SEEDS_H_

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

namespace deweather {

using Files = std::map<std::string, std::string>;  // by name

// A program's exit status; argv[1] is the folder to make.
inline int WriteSeeds(int argc, char** argv, const Files& files) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DIR\n", argv[0]);
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  std::filesystem::create_directories(folder);
  for (const auto& [name, bytes] : files) {
    std::ofstream file(folder / name, std::ios::binary);
    if (file << bytes << std::flush) continue;
    std::fprintf(stderr, "cannot write %s in %s\n", name.c_str(), argv[1]);
    return 1;
  }
  return 0;
}

}  // namespace deweather

#endif  // DEWEATHER_TESTS_FUZZ_SEEDS_H_
