#include "model/kernels/token_sort.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <set>

namespace deweather {
namespace {

// K different experts for each of N tokens.
at::Tensor RandomKept(int64_t tokens, int64_t kept, int64_t experts) {
  at::Generator generator = at::detail::createCPUGenerator(11);
  const at::Tensor scores = at::empty({tokens, experts}).uniform_(0, 1, generator);
  return std::get<1>(scores.topk(kept, 1));
}

TEST(TokenSortTest, RowsAreGroupedByExpertAndSlotsPointBack) {
  for (const auto& [tokens, kept, experts] :
       {std::tuple{1, 1, 1}, {7, 2, 4}, {100, 4, 16}, {33, 4, 128}}) {
    const at::Tensor chosen = RandomKept(tokens, kept, experts);
    const TokenOrder order = SortTokens(chosen, experts);
    ASSERT_EQ(order.begin.size(), static_cast<size_t>(experts) + 1);
    EXPECT_EQ(order.begin.front(), 0);
    EXPECT_EQ(order.begin.back(), tokens * kept);
    std::set<int64_t> seen;
    for (int64_t e = 0; e < experts; ++e) {
      for (int64_t row = order.begin[e]; row < order.begin[e + 1]; ++row) {
        const int64_t source = order.source[row].item<int64_t>();
        const int64_t token = order.token[row].item<int64_t>();
        EXPECT_EQ(token, source / kept);
        EXPECT_EQ(chosen[token][source % kept].item<int64_t>(), e);
        EXPECT_EQ(order.slot[token][source % kept].item<int64_t>(), row);
        EXPECT_TRUE(seen.insert(source).second);
        if (row > order.begin[e]) {
          EXPECT_GT(token, order.token[row - 1].item<int64_t>());
        }
      }
    }
  }
}

TEST(TokenSortTest, ExpertsWithoutTokensOwnNoRows) {
  const at::Tensor kept = at::empty({5, 1}, at::kLong).fill_(2);
  const TokenOrder order = SortTokens(kept, 4);
  EXPECT_EQ(order.begin, (std::vector<int64_t>{0, 0, 0, 5, 5}));
}

TEST(TokenSortTest, NoTokens) {
  const TokenOrder order = SortTokens(at::empty({0, 2}, at::kLong), 3);
  EXPECT_EQ(order.begin, (std::vector<int64_t>{0, 0, 0, 0}));
  EXPECT_EQ(order.token.numel(), 0);
}

}  // namespace
}  // namespace deweather
