// A hundred swaps of real models under load.

#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/restore/pipeline_fixture.h"
#include "tests/restore/stored_models.h"

namespace deweather {
namespace {

constexpr int kSwaps = 100;
constexpr int kSettled = 5;  // swaps after which memory counts
constexpr int kCallers = 3;

double ResidentMegabytes() {
  malloc_trim(0);  // what is free is not growth
  std::ifstream statm("/proc/self/statm");
  double pages = 0;
  statm >> pages >> pages;
  return pages * static_cast<double>(sysconf(_SC_PAGESIZE)) / 1e6;
}

int MostDifference(const std::vector<uint8_t>& a, const std::vector<uint8_t>& b) {
  int most = a.size() == b.size() ? 0 : 256;
  for (size_t i = 0; most < 256 && i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

class HotSwapTest : public testing::Test {
 protected:
  HotSwapTest() : folder_(testing::TempDir() + "/hot_swap") {
    std::filesystem::remove_all(folder_);
    versions_ = {StoreFixture(folder_, "tiny", "fme"), StoreFixture(folder_, "tiny", "moe")};
  }
  ~HotSwapTest() override { std::filesystem::remove_all(folder_); }

  void Promote(const std::string& version) {
    const auto info =
        models_.Promote("tiny", version, pipeline_.batch_sizes(), pipeline_.executor());
    ASSERT_TRUE(info.ok()) << info.status();
  }
  absl::StatusOr<RestoreResult> Restore() {
    RestoreRequest request;
    request.image = picture_;
    const Reply reply;
    pipeline_.Start(std::move(request), reply.Done());
    return reply.Wait();
  }
  // One request, counted; the version that answered it, or "". Batches of other sizes may round
  // the last bit otherwise.
  std::string CountOne() {
    const absl::StatusOr<RestoreResult> result = Restore();
    ++replies_;
    if (!result.ok()) {
      ++failed_;
      return "";
    }
    if (MostDifference(SamplesOf(result->image), expected_.at(result->version)) > 1) ++mixed_;
    return result->version;
  }

  const std::string folder_;
  std::vector<std::string> versions_;
  Metrics metrics_{{}};
  LiveModels models_{{.store = folder_, .precision = Precision::kF32, .threads = 1}, metrics_};
  RestorePipeline pipeline_{{.workers = 2, .max_batch = 4, .window_tiles = 8}, models_, metrics_};
  const std::string picture_ = Png(NoiseImage(150, 100, 7));
  std::map<std::string, std::vector<uint8_t>> expected_;  // by version; constant under load
  std::atomic<bool> stop_ = false;
  std::atomic<int> replies_ = 0, failed_ = 0, mixed_ = 0;
};

TEST_F(HotSwapTest, ASwapUnderLoadFailsNoRequestMixesNoVersionsAndLeaksNothing) {
  for (const std::string& version : versions_) {
    Promote(version);
    expected_[version] = SamplesOf(Restore()->image);
  }
  // Far enough apart to tell.
  ASSERT_GT(MostDifference(expected_[versions_[0]], expected_[versions_[1]]), 16);
  std::vector<std::thread> callers;
  for (int i = 0; i < kCallers; ++i) {
    callers.emplace_back([this] {
      while (!stop_) CountOne();
    });
  }

  double settled = 0;
  for (int swap = 0; swap < kSwaps; ++swap) {
    if (swap == kSettled) settled = ResidentMegabytes();
    const std::string& version = versions_[static_cast<size_t>(swap % 2)];
    Promote(version);
    EXPECT_EQ(CountOne(), version);
  }
  const double growth = (ResidentMegabytes() - settled) / (kSwaps - kSettled);
  stop_ = true;
  for (std::thread& caller : callers) caller.join();
  printf("%d replies, %d failed, %d mixed, %.4f MB a swap\n", replies_.load(), failed_.load(),
         mixed_.load(), growth);
  EXPECT_EQ(failed_, 0);
  EXPECT_EQ(mixed_, 0);
  EXPECT_LE(growth, 0.1);
}

}  // namespace
}  // namespace deweather
