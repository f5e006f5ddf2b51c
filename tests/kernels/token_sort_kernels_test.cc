// The CUDA kernels' text, on the CPU.

// The first makes plain C++ of the second.
// clang-format off
#include "tests/kernels/cuda_on_cpu.h"
#include "model/kernels/token_sort_kernels.h"
// clang-format on

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace deweather::cuda {
namespace {

struct SortCase {
  int64_t tokens, kept;
  int experts;
};

void PrintTo(const SortCase& sort, std::ostream* out) {
  *out << "N" << sort.tokens << " K" << sort.kept << " E" << sort.experts;
}

class TokenSortKernelsTest : public testing::TestWithParam<SortCase> {};
INSTANTIATE_TEST_SUITE_P(Cases, TokenSortKernelsTest,
                         testing::Values(SortCase{0, 2, 3}, SortCase{1, 1, 1}, SortCase{7, 2, 4},
                                         SortCase{256, 4, 16}, SortCase{257, 4, 128},
                                         SortCase{1500, 3, 5}, SortCase{1024, 1, 256}));

// K different experts for each token, of which the last is kept by none where there are others.
std::vector<int64_t> RandomKept(const SortCase& sort) {
  std::mt19937 random(5);
  std::vector<int64_t> kept;
  const int64_t used = sort.experts > sort.kept ? sort.experts - 1 : sort.experts;
  for (int64_t n = 0; n < sort.tokens; ++n) {
    const int64_t first = static_cast<int64_t>(random() % static_cast<uint64_t>(used));
    for (int64_t k = 0; k < sort.kept; ++k) kept.push_back((first + k) % used);
  }
  return kept;
}

TEST_P(TokenSortKernelsTest, RowsAreGroupedInOrderAndSlotsPointBack) {
  const SortCase& sort = GetParam();
  const std::vector<int64_t> kept = RandomKept(sort);
  const int64_t rows = sort.tokens * sort.kept;
  const int chunks = static_cast<int>((rows + kSortChunk - 1) / kSortChunk);
  const SortShape shape{rows, sort.kept, sort.experts, chunks};
  std::vector<int32_t> counts(chunks * sort.experts), before(chunks * sort.experts);
  std::vector<int32_t> end(sort.experts, -1);
  std::vector<int64_t> source(rows, -1), token(rows, -1), slot(rows, -1);
  Launch(chunks, kSortThreads, CountKernel, kept.data(), shape, counts.data());
  Launch(1, kSortThreads, OffsetKernel, counts.data(), shape, before.data(), end.data());
  Launch(chunks, kSortThreads, PlaceKernel, kept.data(), before.data(), end.data(), shape,
         source.data(), token.data(), slot.data());

  int64_t row = 0;
  for (int64_t e = 0; e < sort.experts; ++e) {
    for (int64_t entry = 0; entry < rows; ++entry) {
      if (kept[entry] != e) continue;
      ASSERT_EQ(source[row], entry);
      ASSERT_EQ(token[row], entry / sort.kept);
      ASSERT_EQ(slot[entry], row);
      ++row;
    }
    EXPECT_EQ(end[e], row);
  }
  EXPECT_EQ(row, rows);
}

}  // namespace
}  // namespace deweather::cuda
