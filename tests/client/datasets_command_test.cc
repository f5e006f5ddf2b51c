#include "client/datasets_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "client/dataset_plan.h"
#include "model/base/file.h"
#include "model/base/sha256.h"
#include "tests/client/fake_training.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

class DatasetsTest : public testing::Test {
 protected:
  void Write(const std::string& path, const std::string& bytes) {
    const std::string full = folder_ + "/" + path;
    std::filesystem::create_directories(std::filesystem::path(full).parent_path());
    ASSERT_TRUE(WriteFileAtomically(full, bytes).ok());
  }
  void WritePairs() {
    for (const char* const name : {"b.png", "a.jpg"}) {
      Write(std::string("input/") + name, "rainy");
      Write(std::string("gt/") + name, "clean");
    }
  }
  // The message of the plan's error; empty: it has none.
  std::string Wrong(v1::Dataset::Kind kind = v1::Dataset::KIND_UNSPECIFIED) {
    const absl::Status status = PlanDataset(folder_, kind).status();
    EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  }

  const std::string folder_ = NewFolder();
};

using DatasetPlanTest = DatasetsTest;

TEST_F(DatasetPlanTest, PairsByPath) {
  WritePairs();
  const absl::StatusOr<DatasetPlan> plan = PlanDataset(folder_, v1::Dataset::KIND_UNSPECIFIED);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->kind, v1::Dataset::KIND_PAIRS);
  EXPECT_EQ(plan->bytes, 20);
  std::vector<std::string> paths;
  for (const PlannedPicture& picture : plan->pictures) paths.push_back(picture.path);
  EXPECT_THAT(paths, ElementsAre("gt/a.jpg", "gt/b.png", "input/a.jpg", "input/b.png"));
  EXPECT_EQ(plan->pictures[0].source, folder_ + "/gt/a.jpg");
}

TEST_F(DatasetPlanTest, CleanPicturesByName) {
  Write("b.PNG", "b");
  Write("a.webp", "a");
  const absl::StatusOr<DatasetPlan> plan = PlanDataset(folder_, v1::Dataset::KIND_UNSPECIFIED);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->kind, v1::Dataset::KIND_CLEAN);
  ASSERT_EQ(plan->pictures.size(), 2u);
  EXPECT_EQ(plan->pictures[0].path, "a.webp");
  EXPECT_THAT(Wrong(v1::Dataset::KIND_PAIRS), HasSubstr("a.webp: pairs lie in input/ and gt/"));
}

TEST_F(DatasetPlanTest, NothingIsLeftOutInSilence) {
  Write("a.png", "a");
  Write("notes.txt", "n");
  EXPECT_THAT(Wrong(), HasSubstr("notes.txt"));
  std::filesystem::remove(folder_ + "/notes.txt");
  Write("more/b.png", "b");
  EXPECT_THAT(Wrong(), HasSubstr("more is no file"));
}

TEST_F(DatasetPlanTest, PairsArePairs) {
  WritePairs();
  Write("input/c.png", "rainy");
  EXPECT_THAT(Wrong(), HasSubstr("input/c.png has no partner gt/c.png"));
  std::filesystem::remove(folder_ + "/input/c.png");
  Write("gt/c.png", "clean");
  EXPECT_THAT(Wrong(), HasSubstr("gt/c.png has no partner input/c.png"));
  EXPECT_THAT(Wrong(v1::Dataset::KIND_CLEAN), HasSubstr("holds input/, as pairs do"));
  Write("readme.png", "r");
  EXPECT_THAT(Wrong(), HasSubstr("readme.png"));
}

TEST_F(DatasetPlanTest, HalfOfThePairsIsNotAll) {
  Write("input/a.png", "rainy");
  EXPECT_THAT(Wrong(), HasSubstr("holds input/ without gt/"));
  EXPECT_THAT(Wrong(v1::Dataset::KIND_PAIRS), HasSubstr("holds input/ without gt/"));
}

TEST_F(DatasetPlanTest, NamesAreThoseThatTheServerTakesAndFoldersAreThere) {
  for (const std::string bad : {"\xff.png", "a b.png", "\xc3\xa4.png"}) {
    Write(bad, "x");
    EXPECT_THAT(Wrong(), HasSubstr("the name of " + folder_)) << bad;
    EXPECT_THAT(Wrong(), HasSubstr("it must be made of letters")) << bad;
    std::filesystem::remove(folder_ + "/" + bad);
  }
  EXPECT_EQ(PlanDataset(folder_ + "/none", v1::Dataset::KIND_CLEAN).status().code(),
            absl::StatusCode::kNotFound);
  std::filesystem::create_directory(folder_ + "/empty");
  EXPECT_EQ(PlanDataset(folder_ + "/empty", v1::Dataset::KIND_CLEAN).status().code(),
            absl::StatusCode::kInvalidArgument);
}

class UploadTest : public DatasetsTest {
 protected:
  UploadTest() {
    flags_.server = server_.flags();
    flags_.name = "rainy";
    flags_.folder = folder_;
  }
  int Run() {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int status = RunDatasetsUpload(flags_);
    stdout_ = testing::internal::GetCapturedStdout();
    stderr_ = testing::internal::GetCapturedStderr();
    return status;
  }

  FakeTraining service_;
  TestServer server_{&service_};
  DatasetsFlags flags_;
  std::string stdout_, stderr_;
};

TEST_F(UploadTest, SendsEachFileWithItsSumAndInPieces) {
  const std::string large(600'000, 'x');
  Write("a.png", large);
  Write("b.png", "small");
  flags_.json = true;
  ASSERT_EQ(Run(), 0) << stderr_;
  EXPECT_EQ(json::parse(stdout_)["name"], "rainy");
  ASSERT_EQ(service_.uploaded.size(), 7u) << "start, file, three pieces, file, a piece";
  EXPECT_EQ(service_.uploaded[0].start().kind(), v1::Dataset::KIND_CLEAN);
  EXPECT_EQ(service_.uploaded[1].file().path(), "a.png");
  EXPECT_EQ(service_.uploaded[1].file().bytes(), 600'000);
  EXPECT_EQ(service_.uploaded[1].file().sha256(), Sha256Hex(large));
  std::string arrived;
  for (int i = 2; i < 5; ++i) arrived += service_.uploaded[static_cast<size_t>(i)].chunk();
  EXPECT_EQ(arrived, large);
  EXPECT_EQ(service_.uploaded[5].file().path(), "b.png");
  EXPECT_EQ(service_.uploaded[6].chunk(), "small");
}

TEST_F(UploadTest, ARefusalMidwayIsTheAnswer) {
  Write("a.png", std::string(5'000'000, 'x'));
  service_.take = 2;
  service_.upload_answer = {grpc::StatusCode::ALREADY_EXISTS, "a data set of that name"};
  EXPECT_EQ(Run(), 1);
  EXPECT_EQ(stderr_, "ALREADY_EXISTS: a data set of that name\n");
}

TEST_F(UploadTest, WhatIsHiddenIsToldAndStays) {
  WritePairs();
  Write(".DS_Store", "x");
  Write("gt/.a.jpg.swp", "x");
  ASSERT_EQ(Run(), 0) << stderr_;
  EXPECT_EQ(service_.uploaded.size(), 9u);
  EXPECT_EQ(stderr_, "left out, as it is hidden: " + folder_ + "/.DS_Store\n" +
                         "left out, as it is hidden: " + folder_ + "/gt/.a.jpg.swp\n");
}

TEST_F(UploadTest, NothingIsSentOfAFolderThatIsNone) {
  Write("a.txt", "x");
  EXPECT_EQ(Run(), 2);
  EXPECT_THAT(stderr_, HasSubstr("a.txt"));
  EXPECT_TRUE(service_.uploaded.empty());
}

TEST(DatasetsTableTest, TableAndJson) {
  v1::Dataset pairs, gone;
  pairs.set_name("rainy");
  pairs.set_kind(v1::Dataset::KIND_PAIRS);
  pairs.set_pictures(4);
  pairs.set_bytes(1234);
  pairs.mutable_create_time()->set_seconds(1'700'000'000);
  gone.set_name("scenes");
  gone.set_kind(v1::Dataset::KIND_CLEAN);
  gone.set_registered(true);
  gone.set_problem("its folder is gone");
  EXPECT_THAT(DatasetsTable({pairs, gone}),
              testing::ContainsRegex("rainy +PAIRS +4 +1234  2023-11-14T22:13:20.00:00  -\n"
                                     "scenes +CLEAN +0 +0  - +its folder is gone\n"));
  EXPECT_EQ(DatasetJson(pairs)["kind"], "PAIRS");
  EXPECT_TRUE(DatasetJson(pairs)["problem"].is_null());
  EXPECT_TRUE(DatasetJson(gone)["create_time"].is_null());
  EXPECT_TRUE(DatasetJson(gone)["registered"]);
}

}  // namespace
}  // namespace deweather
