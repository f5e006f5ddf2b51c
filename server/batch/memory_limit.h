// How many tiles a batch may have on a device that has run out of memory.
// Half of what failed; after kMemoryTrial batches of that size without a failure the next size again.
//
// Threads  thread-compatible

#ifndef DEWEATHER_SERVER_BATCH_MEMORY_LIMIT_H_
#define DEWEATHER_SERVER_BATCH_MEMORY_LIMIT_H_

#include <cstddef>
#include <vector>

namespace deweather {

inline constexpr int kMemoryTrial = 64;

class MemoryLimit {
 public:
  // `sizes` of BatchSizes; without a failure the last one is the limit.
  explicit MemoryLimit(std::vector<int> sizes);

  int tiles() const { return sizes_[level_]; }

  // A batch of so many tiles ran out of memory, or came out well. REQUIRES: size >= 1.
  void Failed(int size);
  void Succeeded(int size);

 private:
  std::vector<int> sizes_;
  size_t level_;       // of the limit in sizes_
  int successes_ = 0;  // at the limit
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_BATCH_MEMORY_LIMIT_H_
