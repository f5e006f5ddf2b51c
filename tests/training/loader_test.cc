#include "training/loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <new>
#include <system_error>

#include "tests/training/tiny_run.h"

namespace {
std::atomic<size_t> largest_new = std::numeric_limits<size_t>::max();
}

[[gnu::noinline]] void* operator new(size_t size) {
  void* const memory = size > largest_new ? nullptr : std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace deweather {
namespace {

std::vector<float> Input(Dataset& dataset, int64_t step, int64_t index) {
  std::vector<float> input(dataset.crop_elements()), truth(input.size());
  EXPECT_TRUE(dataset.Load(step, index, input.data(), truth.data()).ok());
  return input;
}

// All crops from `first_step` on, in the order in which the network sees them.
std::vector<std::vector<float>> Inputs(const TrainOptions& options, int64_t first_step) {
  const auto dataset = Dataset::Open(options.data, options.seed).value();
  Loader loader(options, *dataset, first_step);
  std::vector<std::vector<float>> crops;
  for (int64_t i = 0; i < (options.steps - first_step) * options.accumulate; ++i) {
    const Batch& batch = **loader.Next();
    EXPECT_EQ(std::ssize(batch.notes), options.batch);
    EXPECT_EQ(batch.step, first_step + i / options.accumulate);
    EXPECT_EQ(batch.first_crop, i % options.accumulate * options.batch);
    for (auto crop = batch.input.begin(); crop != batch.input.end();
         crop += dataset->crop_elements()) {
      crops.emplace_back(crop, crop + dataset->crop_elements());
    }
  }
  return crops;
}

TEST(LoaderTest, AnyNumberOfThreadsGivesTheSameCropsInOrder) {
  TrainOptions options = TinyRun(NewFolder());
  options.steps = 12;
  options.batch = 3;
  const auto dataset = Dataset::Open(options.data, options.seed).value();
  std::vector<std::vector<float>> expected;
  for (int64_t step = 2; step < 12; ++step) {
    for (int64_t i = 0; i < 3; ++i) expected.push_back(Input(*dataset, step, i));
  }
  for (const int threads : {1, 2, 5}) {
    for (const int prefetch : {1, 4}) {
      options.data.loader_threads = threads;
      options.data.prefetch_batches = prefetch;
      EXPECT_TRUE(Inputs(options, 2) == expected) << threads << " threads, " << prefetch;
    }
  }
}

TEST(LoaderTest, StepInSeveralPassesHasTheSameCrops) {
  TrainOptions options = TinyRun(NewFolder());
  options.batch = 6;
  const auto whole = Inputs(options, 1);
  options.batch = 2;
  options.accumulate = 3;
  options.data.loader_threads = 3;
  EXPECT_TRUE(Inputs(options, 1) == whole);
}

TEST(LoaderTest, BatchStaysAsItIsUntilTheNextIsTaken) {
  TrainOptions options = TinyRun(NewFolder());
  options.steps = 1000;
  options.data.loader_threads = 3;
  options.data.prefetch_batches = 1;
  const auto dataset = Dataset::Open(options.data, options.seed).value();
  Loader loader(options, *dataset, 0);
  for (int64_t step = 0; step < 20; ++step) {
    const Batch& batch = **loader.Next();
    const std::vector<float> before = batch.input;
    for (int64_t i = 0; i < 4; ++i) Input(*dataset, step, i);  // as long as two batches take
    EXPECT_TRUE(batch.input == before);
  }
}  // and the loader ends although most of its batches were never wanted

TEST(LoaderTest, FailureEndsItAfterWhatWasMade) {
  TrainOptions options = TinyRun(NewFolder());
  options.steps = 1000;
  options.data.cache_mebibytes = 0;
  options.data.loader_threads = 2;
  const auto dataset = Dataset::Open(options.data, options.seed).value();
  Loader loader(options, *dataset, 0);
  ASSERT_TRUE(loader.Next().ok());
  std::filesystem::remove_all(options.data.clean[0].dir);
  absl::Status status;
  int64_t more = 0;
  while (status.ok()) {
    status = loader.Next().status();
    ++more;
  }
  EXPECT_LE(more, 2 + options.data.prefetch_batches);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("can be read"));
  EXPECT_EQ(loader.Next().status(), status);
}

TEST(LoaderTest, WantOfMemoryIsAnError) {
  TrainOptions options = TinyRun(NewFolder());
  options.steps = 1000;
  const auto dataset = Dataset::Open(options.data, options.seed).value();
  Loader loader(options, *dataset, 0);
  largest_new = dataset->crop_elements() * sizeof(float) - 1;
  absl::Status status;
  while (status.ok()) status = loader.Next().status();
  largest_new = std::numeric_limits<size_t>::max();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
}

// What this process may map beyond what it has.
void LimitMemory(rlim_t more) {
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t most = more == RLIM_INFINITY ? more : static_cast<rlim_t>(pages) * 4096 + more;
  const rlimit limit = {most, RLIM_INFINITY};
  ASSERT_EQ(setrlimit(RLIMIT_AS, &limit), 0);
}

TEST(LoaderTest, ThreadThatCannotBeStartedIsAnException) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer maps memory of its own";
#endif
  TrainOptions options = TinyRun(NewFolder());
  options.data.loader_threads = 256;
  const auto dataset = Dataset::Open(options.data, options.seed).value();
  LimitMemory(64 << 20);  // stacks of eight threads
  EXPECT_THROW(Loader(options, *dataset, options.steps), std::system_error);
  LimitMemory(RLIM_INFINITY);
}

}  // namespace
}  // namespace deweather
