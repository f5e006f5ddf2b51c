// Data sets by name: registered folders, what was uploaded, what a restart finds.

#include "training/datasets/datasets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/datasets/upload_pictures.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> Names(const std::vector<Dataset>& datasets) {
  std::vector<std::string> names;
  for (const Dataset& dataset : datasets) names.push_back(dataset.name);
  return names;
}

void ExpectUnusable(const absl::Status& status, const std::string& why) {
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_EQ(ErrorReason(status), "DATASET_UNUSABLE");
  EXPECT_THAT(std::string(status.message()), HasSubstr(why));
}

TEST_F(DatasetsTest, RegisteredFoldersAreCounted) {
  const std::string png = Png(4, 3);
  WriteTo(place_ + "/rain/input/a.png", png);
  WriteTo(place_ + "/rain/gt/a.jpg", png);
  WriteTo(place_ + "/rain/gt/b.png", png);
  WriteTo(place_ + "/rain/notes.txt", "x");
  WriteTo(place_ + "/streets/a.png", png);
  WriteTo(place_ + "/streets/b.png", png);
  WriteTo(place_ + "/streets/c.txt", "x");
  options_.registered = {{"streets", place_ + "/streets"}, {"rain", place_ + "/rain"}};
  const std::vector<Dataset> listed = Open().List();
  ASSERT_THAT(Names(listed), ElementsAre("rain", "streets"));
  EXPECT_EQ(listed[0].kind, DatasetKind::kPairs);
  EXPECT_EQ(listed[0].pictures, 1);
  EXPECT_EQ(listed[0].bytes, std::ssize(png) * 3);
  EXPECT_TRUE(listed[0].registered);
  EXPECT_FALSE(listed[0].create_time.has_value());
  EXPECT_EQ(listed[0].dir, place_ + "/rain");
  EXPECT_EQ(listed[0].problem, "");
  EXPECT_EQ(listed[1].kind, DatasetKind::kClean);
  EXPECT_EQ(listed[1].pictures, 2);
}

TEST_F(DatasetsTest, ARelativeFolderBecomesAbsolute) {
  WriteTo(place_ + "/streets/a.png", Png(4, 3));
  options_.registered = {{"streets", fs::relative(place_ + "/streets").string()}};
  const std::string dir = Open().Find("streets").value().dir;
  EXPECT_TRUE(fs::path(dir).is_absolute()) << dir;
  EXPECT_TRUE(fs::equivalent(dir, place_ + "/streets")) << dir;
}

TEST_F(DatasetsTest, ARegisteredFolderThatIsMissingIsListedWithItsProblem) {
  options_.registered = {{"later", place_ + "/later"}};
  const std::vector<Dataset> listed = Open().List(kNoon);
  ASSERT_THAT(Names(listed), ElementsAre("later"));
  EXPECT_EQ(listed[0].problem, "its folder is gone");
  ExpectUnusable(datasets_->Find("later", kNoon).status(), "'later' cannot be used: its folder");
  WriteTo(place_ + "/later/notes.txt", "x");
  ExpectUnusable(datasets_->Find("later", kNoon).status(), "no picture");
  WriteTo(place_ + "/later/a.png", Png(4, 3));
  EXPECT_TRUE(datasets_->Find("later", kNoon).ok());  // a problem is looked at each time
  fs::remove_all(place_ + "/later");
  ExpectUnusable(datasets_->Find("later", kNoon).status(), "its folder is gone");
}

TEST_F(DatasetsTest, PairsThatTrainingWouldRefuse) {
  WriteTo(place_ + "/rain/input/a.png", Png(4, 3));
  WriteTo(place_ + "/rain/gt/b.png", Png(4, 3));
  options_.registered = {{"rain", place_ + "/rain"}};
  ExpectUnusable(Open().Find("rain").status(), "input/a has no partner in gt");
  WriteTo(place_ + "/rain/gt/a.png", Png(4, 3));
  EXPECT_TRUE(datasets_->Find("rain").ok());
  WriteTo(place_ + "/rain/gt/a.jpg", Png(4, 3));
  ExpectUnusable(Open().Find("rain").status(), "differ in their extension alone");
}

TEST_F(DatasetsTest, FoldersAreCountedAtMostOnceAMinute) {
  WriteTo(place_ + "/streets/a.png", Png(4, 3));
  options_.registered = {{"streets", place_ + "/streets"}};
  EXPECT_EQ(Open().List(kNoon)[0].pictures, 1);
  WriteTo(place_ + "/streets/b.png", Png(4, 3));
  EXPECT_EQ(datasets_->List(kNoon + absl::Seconds(59))[0].pictures, 1);
  EXPECT_EQ(datasets_->List(kNoon + absl::Seconds(60))[0].pictures, 2);
}

TEST_F(DatasetsTest, AnUnknownNameIsToldWhatThereIs) {
  EXPECT_THAT(std::string(Open().Find("fog").status().message()), HasSubstr("known: none"));
  options_.registered = {{"rain", place_ + "/rain"}};
  const absl::Status status = Open().Find("../rain").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrorReason(status), "UNKNOWN_DATASET");
  EXPECT_THAT(std::string(status.message()), HasSubstr("known: rain"));
}

TEST_F(DatasetsTest, AnUploadIsThereAfterARestart) {
  const std::string png = Png(4, 3);
  Open();
  DatasetUpload upload = Begin("mine", DatasetKind::kPairs);
  ASSERT_TRUE(Send(upload, "input/a.png", png).ok());
  ASSERT_TRUE(Send(upload, "gt/a.png", png).ok());
  ASSERT_TRUE(upload.Commit(kNoon).ok());
  const Dataset found = Open().Find("mine").value();
  EXPECT_EQ(found.kind, DatasetKind::kPairs);
  EXPECT_EQ(found.dir, Folder() + "/mine");
  EXPECT_EQ(found.pictures, 1);
  EXPECT_EQ(found.bytes, 2 * std::ssize(png));
  EXPECT_EQ(found.create_time, kNoon);
  EXPECT_FALSE(found.registered);
  EXPECT_EQ(ReadFile(found.dir + "/input/a.png").value(), png);
}

TEST_F(DatasetsTest, ARestartSweepsWhatACrashLeft) {
  WriteTo(Folder() + "/.tmp-mine-0123/input/a.png", "half");
  WriteTo(Folder() + "/readme.txt", "not a data set");
  EXPECT_THAT(Open().List(), IsEmpty());
  EXPECT_THAT(Entries(), ElementsAre("readme.txt"));
}

TEST_F(DatasetsTest, AnUploadThatSomebodyDamaged) {
  WriteTo(Folder() + "/torn/a.png", Png(4, 3));
  WriteTo(Folder() + "/odd/dataset.json", R"({"kind": "pairs", "pictures": -1})");
  Open();
  ExpectUnusable(datasets_->Find("torn").status(), "dataset.json is missing or damaged");
  ExpectUnusable(datasets_->Find("odd").status(), "dataset.json is missing or damaged");
  EXPECT_EQ(ErrorReason(datasets_->BeginUpload("torn", DatasetKind::kClean).status()),
            "DATASET_EXISTS");
}

TEST_F(DatasetsTest, AnUploadWhoseFolderIsGone) {
  Open();
  DatasetUpload upload = Begin("mine");
  ASSERT_TRUE(Send(upload, "a.png", Png(4, 3)).ok());
  ASSERT_TRUE(upload.Commit(kNoon).ok());
  EXPECT_TRUE(datasets_->Find("mine").ok());
  fs::remove_all(Folder() + "/mine");
  ExpectUnusable(datasets_->Find("mine").status(), "its folder is gone");
}

TEST_F(DatasetsTest, ARegisteredFolderHidesAnUploadOfItsName) {
  Open();
  DatasetUpload upload = Begin("rain");
  ASSERT_TRUE(Send(upload, "a.png", Png(4, 3)).ok());
  ASSERT_TRUE(upload.Commit(kNoon).ok());
  WriteTo(place_ + "/rain/a.png", Png(4, 3));
  options_.registered = {{"rain", place_ + "/rain"}};
  EXPECT_THAT(Names(Open().List()), ElementsAre("rain"));
  EXPECT_EQ(datasets_->Find("rain").value().dir, place_ + "/rain");
}

TEST_F(DatasetsTest, AFolderThatCannotBeMade) {
  WriteTo(place_ + "/datasets", "a file");
  EXPECT_FALSE(Datasets::Open(Folder(), options_).ok());
}

}  // namespace
}  // namespace deweather
