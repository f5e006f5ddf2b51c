#include "model/version_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/base/file.h"
#include "model/base/sha256.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;

const absl::Time kNoon = absl::FromUnixSeconds(1'700'000'000);

class VersionStoreTest : public testing::Test {
 protected:
  VersionStoreTest()
      : models_(absl::StrCat(testing::TempDir(), "/version_store.",
                             testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(models_);
  }
  ~VersionStoreTest() override { fs::remove_all(models_); }

  // The version that these bytes have.
  std::string Add(const std::string& bytes, absl::Time now = kNoon) {
    const auto added = AddVersion(models_, "rain", bytes, "a test", now);
    EXPECT_TRUE(added.ok()) << added.status();
    return added.ok() ? added->manifest.version : "";
  }
  std::string InVersion(const std::string& version, const std::string& file) const {
    return absl::StrCat(models_, "/rain/", version, "/", file);
  }
  void Overwrite(const std::string& path, const std::string& bytes) const {
    ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  }
  // What everybody says of a version that is damaged: `file` is named.
  void ExpectTorn(const std::string& version, const std::string& file) const {
    const absl::Status status = ReadVersion(models_, "rain", version).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(InVersion(version, file)));
  }

  const std::string models_;
};

TEST_F(VersionStoreTest, AVersionIsNamedByItsBytes) {
  const auto added = AddVersion(models_, "rain", "weights", "import of x", kNoon);
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_TRUE(added->added);
  EXPECT_EQ(added->manifest.version, Sha256Hex("weights").substr(0, 12));
  EXPECT_EQ(added->path, InVersion(added->manifest.version, "model.safetensors"));
  EXPECT_EQ(ReadFile(added->path).value(), "weights");
  const auto manifest = ReadManifest(models_, "rain", added->manifest.version);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->name, "rain");
  EXPECT_EQ(manifest->bytes, 7);
  EXPECT_EQ(manifest->sha256, Sha256Hex("weights"));
  EXPECT_EQ(manifest->source, "import of x");
  EXPECT_EQ(manifest->created_time, kNoon);
  EXPECT_EQ(ReadVersion(models_, "rain", manifest->version).value(), "weights");
}

TEST_F(VersionStoreTest, TheSameBytesTwiceAreOneVersion) {
  const std::string version = Add("weights");
  const auto again = AddVersion(models_, "rain", "weights", "another", kNoon + absl::Hours(1));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_FALSE(again->added);
  EXPECT_EQ(again->manifest.source, "a test");
  EXPECT_EQ(ListVersions(models_, "rain").versions.size(), 1u);
}

TEST_F(VersionStoreTest, VersionsAreListedNewestFirst) {
  const std::string old = Add("old"), fresh = Add("new", kNoon + absl::Hours(1));
  const VersionList list = ListVersions(models_, "rain");
  ASSERT_EQ(list.versions.size(), 2u);
  EXPECT_EQ(list.versions[0].version, fresh);
  EXPECT_EQ(list.versions[1].version, old);
  EXPECT_THAT(list.skipped, IsEmpty());
  EXPECT_THAT(ListVersions(models_, "snow").versions, IsEmpty());
  EXPECT_THAT(ListStoredNames(models_), ElementsAre("rain"));
  EXPECT_THAT(ListStoredNames(models_ + "/absent"), IsEmpty());
}

TEST_F(VersionStoreTest, NothingElseIsLeftInTheFolder) {
  const std::string version = Add("weights");
  Add("weights");
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(models_ + "/rain")) {
    names.push_back(entry.path().filename());
  }
  EXPECT_THAT(names, ElementsAre(version));
}

TEST_F(VersionStoreTest, TornVersionsAreSkippedAndNamed) {
  const std::string whole = Add("whole");
  const std::string shorter = Add("shorter"), flipped = Add("flipped"), bare = Add("bare");
  const std::string moved = Add("moved"), no_json = Add("no_json"), empty = Add("empty");
  Overwrite(InVersion(shorter, "model.safetensors"), "short");
  Overwrite(InVersion(flipped, "model.safetensors"), "flippeD");
  fs::remove(InVersion(bare, "manifest.json"));
  Overwrite(InVersion(moved, "manifest.json"), ReadFile(InVersion(whole, "manifest.json")).value());
  Overwrite(InVersion(no_json, "manifest.json"), "{\"name\": ");
  Overwrite(InVersion(empty, "manifest.json"), "{\"name\": 3, \"bytes\": \"many\"}");
  ExpectTorn(shorter, "model.safetensors");
  ExpectTorn(flipped, "model.safetensors");
  for (const std::string& version : {bare, moved, no_json, empty}) {
    ExpectTorn(version, "manifest.json");
  }
  const VersionList list = ListVersions(models_, "rain");
  EXPECT_EQ(list.versions.size(), 2u);  // whole, and flipped: a list does not read the weights
  EXPECT_EQ(list.skipped.size(), 5u);
}

TEST_F(VersionStoreTest, ATornVersionIsReplacedByTheSameBytes) {
  const std::string version = Add("weights");
  Overwrite(InVersion(version, "model.safetensors"), "wei");
  EXPECT_EQ(Add("weights"), version);
  EXPECT_EQ(ReadVersion(models_, "rain", version).value(), "weights");
  EXPECT_THAT(ListVersions(models_, "rain").skipped, IsEmpty());
}

TEST_F(VersionStoreTest, WhatACrashLeftIsNoVersion) {
  const std::string version = Add("weights");
  fs::rename(models_ + "/rain/" + version, models_ + "/rain/.tmp-" + version + "-1-1");
  std::ofstream(models_ + "/rain/" + version) << "a file of that name";
  const VersionList list = ListVersions(models_, "rain");
  EXPECT_THAT(list.versions, IsEmpty());
  EXPECT_THAT(list.skipped, IsEmpty());
  EXPECT_EQ(ReadVersion(models_, "rain", version).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(VersionStoreTest, ADeletedVersionLeavesNothing) {
  const std::string gone = Add("gone"), torn = Add("torn"), stays = Add("stays");
  fs::remove(InVersion(torn, "manifest.json"));
  ASSERT_TRUE(DeleteVersion(models_, "rain", gone).ok());
  ASSERT_TRUE(DeleteVersion(models_, "rain", torn).ok());
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(models_ + "/rain")) {
    names.push_back(entry.path().filename());
  }
  EXPECT_THAT(names, ElementsAre(stays));
  EXPECT_EQ(ReadVersion(models_, "rain", stays).value(), "stays");
  const absl::Status again = DeleteVersion(models_, "rain", gone);
  EXPECT_EQ(again.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(again.message()), HasSubstr(stays));
  EXPECT_EQ(Add("gone"), gone);
  EXPECT_EQ(ReadVersion(models_, "rain", gone).value(), "gone");
}

TEST_F(VersionStoreTest, ANameGoesWithItsLastVersionUnlessItWasLive) {
  const std::string version = Add("weights");
  ASSERT_TRUE(DeleteVersion(models_, "rain", version).ok());
  EXPECT_THAT(ListStoredNames(models_), IsEmpty());
  EXPECT_EQ(DeleteVersion(models_, "rain", version).code(), absl::StatusCode::kNotFound);
  Add("weights");
  ASSERT_TRUE(WriteLive(models_, "rain", {version, ""}).ok());
  ASSERT_TRUE(DeleteVersion(models_, "rain", version).ok());
  EXPECT_EQ(ReadLive(models_, "rain").value()->version, version);
}

TEST_F(VersionStoreTest, AnUnknownVersionIsNotFoundAndTheKnownOnesAreNamed) {
  const std::string version = Add("weights");
  const absl::Status status = ReadVersion(models_, "rain", "0123456789ab").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("0123456789ab"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(version));
  for (int i = 0; i < 21; ++i) Add(absl::StrCat("weights ", i));
  EXPECT_THAT(std::string(ReadVersion(models_, "rain", "0123456789ab").status().message()),
              EndsWith(" and 2 more"));
}

TEST_F(VersionStoreTest, NamesAndVersionsCannotLeadOut) {
  const std::string version = Add("weights");
  for (const std::string& name :
       std::vector<std::string>{"", "..", "../rain", "a/b", "/etc", ".hidden"}) {
    EXPECT_EQ(AddVersion(models_, name, "x", "", kNoon).status().code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ReadVersion(models_, name, version).status().code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(DeleteVersion(models_, name, version).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ReadLive(models_, name).status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(WriteLive(models_, name, {version, ""}).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(ListVersions(models_, name).versions, IsEmpty());
  }
  for (const std::string& bad :
       std::vector<std::string>{"", "..", "../../../etc", "0123456789aB", "0123456789abc", "/"}) {
    EXPECT_FALSE(IsVersion(bad));
    EXPECT_EQ(ReadVersion(models_, "rain", bad).status().code(),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(DeleteVersion(models_, "rain", bad).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(WriteLive(models_, "rain", {bad, ""}).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(ReadVersion(models_, "rain", version).value(), "weights");
  EXPECT_FALSE(WriteLive(models_, "rain", {version, "../x"}).ok());
}

TEST_F(VersionStoreTest, WhatIsLiveIsKept) {
  EXPECT_FALSE(ReadLive(models_, "rain").value().has_value());
  ASSERT_TRUE(WriteLive(models_, "rain", {"0123456789ab", ""}).ok());
  ASSERT_TRUE(WriteLive(models_, "rain", {"ba9876543210", "0123456789ab"}).ok());
  const auto live = ReadLive(models_, "rain");
  ASSERT_TRUE(live.ok() && live->has_value());
  EXPECT_EQ((*live)->version, "ba9876543210");
  EXPECT_EQ((*live)->previous, "0123456789ab");
}

TEST_F(VersionStoreTest, ACanaryIsKeptBesideWhatIsLive) {
  const LiveRecord record{.version = "ba9876543210",
                          .previous = "0123456789ab",
                          .canary = "aaaaaaaaaaaa",
                          .canary_percent = 12.5};
  ASSERT_TRUE(WriteLive(models_, "rain", record).ok());
  const auto live = ReadLive(models_, "rain");
  ASSERT_TRUE(live.ok() && live->has_value());
  EXPECT_EQ((*live)->version, "ba9876543210");
  EXPECT_EQ((*live)->canary, "aaaaaaaaaaaa");
  EXPECT_EQ((*live)->canary_percent, 12.5);
  EXPECT_EQ((*live)->problem, "");
  for (const double percent : {0.0, 100.0, -1.0, std::nan("")}) {
    LiveRecord bad = record;
    bad.canary_percent = percent;
    EXPECT_EQ(WriteLive(models_, "rain", bad).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(VersionStoreTest, OlderAndNewerLiveFilesAreRead) {
  ASSERT_TRUE(fs::create_directories(models_ + "/rain"));
  for (const char* const text :
       {R"({"version": "0123456789ab", "previous": ""})",
        R"({"version": "0123456789ab", "shadow": {"version": 7}, "since": [1]})"}) {
    Overwrite(models_ + "/rain/live.json", text);
    const auto live = ReadLive(models_, "rain");
    ASSERT_TRUE(live.ok() && live->has_value()) << live.status();
    EXPECT_EQ((*live)->version, "0123456789ab");
    EXPECT_EQ((*live)->canary, "");
    EXPECT_EQ((*live)->problem, "");
  }
}

TEST_F(VersionStoreTest, ATornCanaryLeavesTheLiveVersion) {
  ASSERT_TRUE(fs::create_directories(models_ + "/rain"));
  for (const char* const canary :
       {"7", "{}", R"({"version": "../x", "percent": 5})", R"({"version": "aaaaaaaaaaaa"})",
        R"({"version": "aaaaaaaaaaaa", "percent": 100})",
        R"({"version": "aaaaaaaaaaaa", "percent": "5"})"}) {
    Overwrite(models_ + "/rain/live.json",
              absl::StrCat(R"({"version": "0123456789ab", "canary": )", canary, "}"));
    const auto live = ReadLive(models_, "rain");
    ASSERT_TRUE(live.ok() && live->has_value()) << canary << live.status();
    EXPECT_EQ((*live)->version, "0123456789ab");
    EXPECT_EQ((*live)->canary, "") << canary;
    EXPECT_THAT((*live)->problem, HasSubstr("live.json")) << canary;
  }
}

TEST_F(VersionStoreTest, ATornLiveFileIsDataLoss) {
  for (const std::string& text :
       std::vector<std::string>{"", "{", "[]", "{}", "{\"version\": \"../../../etc\"}",
                                "{\"version\": \"0123456789ab\", \"previous\": \"x\"}"}) {
    fs::create_directories(models_ + "/rain");
    Overwrite(models_ + "/rain/live.json", text);
    const absl::Status status = ReadLive(models_, "rain").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("rain/live.json"));
  }
}

TEST_F(VersionStoreTest, AFullOrClosedDiskLeavesNothing) {
  ASSERT_TRUE(fs::create_directories(models_));
  std::ofstream(models_ + "/rain") << "a file where the folder would be";
  EXPECT_FALSE(AddVersion(models_, "rain", "weights", "", kNoon).ok());
  EXPECT_FALSE(WriteLive(models_, "rain", {"0123456789ab", ""}).ok());
}

TEST_F(VersionStoreTest, ManyImportsOfTheSameBytesAtOnce) {
  const std::string bytes(100'000, 'w');
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 10; ++round) Add(bytes);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ListVersions(models_, "rain").versions.size(), 1u);
  EXPECT_EQ(ReadVersion(models_, "rain", Add(bytes)).value(), bytes);
}

}  // namespace
}  // namespace deweather
