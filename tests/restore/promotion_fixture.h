// LiveModels of servers that share a folder of versions.

#ifndef DEWEATHER_TESTS_RESTORE_PROMOTION_FIXTURE_H_
#define DEWEATHER_TESTS_RESTORE_PROMOTION_FIXTURE_H_

#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/base/error_reason.h"
#include "model/version_store.h"
#include "server/restore/live_models.h"
#include "server/restore/metrics.h"
#include "tests/new_folder.h"
#include "tests/restore/stored_models.h"

namespace deweather {

// One server's models over a folder.
struct Replica {
  explicit Replica(const std::string& folder, int64_t max_model_bytes = int64_t{8} << 30)
      : models({.folders = {folder},
                .store = folder,
                .precision = Precision::kF32,
                .max_model_bytes = max_model_bytes,
                .log = [this](const std::string& line) { log.push_back(line); }},
               metrics) {}

  absl::StatusOr<LiveModelInfo> Promote(const std::string& version,
                                        const PromotionTerms& terms = {}) {
    return models.Promote("tiny", version, {1, 2}, executor, {}, terms);
  }
  absl::StatusOr<LiveModelInfo> Try(const std::string& version, double percent) {
    return Promote(version, {.canary_percent = percent});
  }
  absl::StatusOr<LiveModelInfo> Rollback() { return models.Rollback("tiny", {1, 2}, executor); }
  void Follow(absl::Time now = absl::Now()) { models.Follow({1, 2}, executor, {}, now); }
  // Empty if it is not live.
  std::string Live(const std::string& name = "tiny") const {
    const auto serving = models.Serving(name);
    return serving.ok() ? serving->front().version : "";
  }

  // Version and share that are on trial.
  std::pair<std::string, double> OnTrial() {
    const auto status = models.StatusOf("tiny");
    return {status->canary_version, status->canary_percent};
  }
  // How many of as many requests get that version.
  int Pins(const std::string& version, int requests) const {
    int pins = 0;
    for (int i = 0; i < requests; ++i) pins += models.Pin("tiny")->info.version == version;
    return pins;
  }
  std::string Text() const { return prometheus::TextSerializer().Serialize(metrics.Collect()); }

  const Executor executor = [this](const std::function<void()>& task) {
    ++tasks;
    task();
  };
  int tasks = 0;
  std::vector<std::string> log;
  Metrics metrics{{}};
  LiveModels models;
};

class PromotionTest : public testing::Test {
 protected:
  PromotionTest() : folder_(NewFolder()) { replica_ = std::make_unique<Replica>(folder_); }
  ~PromotionTest() override { std::filesystem::remove_all(folder_); }

  std::string Store(const std::string& fixture, const std::string& name = "tiny") const {
    return StoreFixture(folder_, name, fixture);
  }
  LiveRecord Record(const std::string& name = "tiny") const {
    return ReadLive(folder_, name).value().value_or(LiveRecord{});
  }
  void ExpectRecord(const std::string& version, const std::string& previous) const {
    EXPECT_EQ(Record().version, version);
    EXPECT_EQ(Record().previous, previous);
  }
  // Whatever is refused leaves `live` as it was, in memory and on disk.
  void ExpectRefused(const absl::Status& status, absl::StatusCode code, const std::string& reason,
                     const std::string& live) const {
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_EQ(ErrorReason(status), reason);
    EXPECT_EQ(replica_->Live(), live);
    EXPECT_EQ(Record().version, live);
  }
  void Restart() { replica_ = std::make_unique<Replica>(folder_); }

  const std::string folder_;
  std::unique_ptr<Replica> replica_;
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_RESTORE_PROMOTION_FIXTURE_H_
