#include "server/batch/memory_limit.h"

#include <cstddef>
#include <utility>

namespace deweather {

MemoryLimit::MemoryLimit(std::vector<int> sizes)
    : sizes_(std::move(sizes)), level_(sizes_.size() - 1) {}

void MemoryLimit::Failed(int size) {
  while (level_ > 0 && sizes_[level_] > size / 2) --level_;
  successes_ = 0;
}

void MemoryLimit::Succeeded(int size) {
  if (size != tiles() || level_ + 1 == sizes_.size()) return;
  if (++successes_ < kMemoryTrial) return;
  ++level_;
  successes_ = 0;
}

}  // namespace deweather
