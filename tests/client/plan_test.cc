#include "client/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

class PlanTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    folder_ = absl::StrCat(testing::TempDir(), "/plan_", name, "_", getpid());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return absl::StrCat(folder_, "/", name); }
  std::string Touch(const std::string& name) const {
    fs::create_directories(fs::path(Path(name)).parent_path());
    std::ofstream(Path(name)) << "x";
    return Path(name);
  }
  static absl::Status Error(const std::vector<std::string>& inputs, const std::string& output) {
    return PlanFiles(inputs, output, false).status();
  }
  static std::string Message(const absl::Status& status) { return std::string(status.message()); }

  std::string folder_;
};

TEST_F(PlanTest, FileToFile) {
  const auto files = PlanFiles({Touch("a.jpg")}, Path("b.png"), false);
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_EQ(files->size(), 1u);
  EXPECT_EQ(files->front().input, Path("a.jpg"));
  EXPECT_EQ(files->front().output, Path("b.png"));
  EXPECT_EQ(files->front().format, v1::RestoreOptions::FORMAT_PNG);
}

TEST_F(PlanTest, FileIntoFolderKeepsItsName) {
  fs::create_directory(Path("out"));
  for (const char* out : {"out", "out/", "new/"}) {
    const auto files = PlanFiles({Touch("a.jpg")}, Path(out), false);
    ASSERT_TRUE(files.ok()) << files.status();
    EXPECT_EQ(fs::path(files->front().output).lexically_normal(),
              fs::path(Path(out) + "/a.jpg").lexically_normal());
    EXPECT_EQ(files->front().format, v1::RestoreOptions::FORMAT_JPEG);
  }
}

TEST_F(PlanTest, FolderGivesItsPicturesSorted) {
  Touch("in/b.PNG");
  Touch("in/a.tiff");
  Touch("in/notes.txt");
  Touch("in/deeper/c.png");
  const auto files = PlanFiles({Path("in")}, Path("out"), false);
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_EQ(files->size(), 2u);
  EXPECT_EQ((*files)[0].output, Path("out/a.tiff"));
  EXPECT_EQ((*files)[1].output, Path("out/b.PNG"));
  EXPECT_FALSE(fs::exists(Path("out"))) << "planning changes nothing";
}

TEST_F(PlanTest, Pipes) {
  const auto both = PlanFiles({"-"}, "-", false);
  ASSERT_TRUE(both.ok());
  EXPECT_EQ(both->front().format, v1::RestoreOptions::FORMAT_UNSPECIFIED);
  const auto named = PlanFiles({"-"}, Path("a.webp"), false);
  ASSERT_TRUE(named.ok());
  EXPECT_EQ(named->front().format, v1::RestoreOptions::FORMAT_WEBP);
  EXPECT_TRUE(absl::IsInvalidArgument(Error({"-"}, folder_)));
  EXPECT_TRUE(absl::IsInvalidArgument(Error({"-", Touch("a.png")}, Path("out"))));
  EXPECT_TRUE(absl::IsInvalidArgument(Error({Touch("a.png"), Touch("b.png")}, "-")));
}

TEST_F(PlanTest, MissingInputs) {
  EXPECT_TRUE(absl::IsNotFound(Error({Path("none.png")}, Path("out.png"))));
  fs::create_directory(Path("empty"));
  EXPECT_TRUE(absl::IsNotFound(Error({Path("empty")}, Path("out"))));
}

TEST_F(PlanTest, UnknownExtensionNamesTheKnownOnes) {
  const absl::Status status = Error({Touch("a.png")}, Path("b.gif"));
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(Message(status), AllOf(HasSubstr("b.gif"), HasSubstr("jpg, jpeg, png")));
  EXPECT_TRUE(absl::IsInvalidArgument(Error({Touch("a.png")}, Path("b"))));
}

TEST_F(PlanTest, TwoInputsForOneOutput) {
  const absl::Status status = Error({Touch("a/x.png"), Touch("b/x.png")}, Path("out"));
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(Message(status), AllOf(HasSubstr("a/x.png"), HasSubstr("b/x.png")));
}

TEST_F(PlanTest, AFileHasOnePlaceHoweverItIsWritten) {
  EXPECT_EQ(PlaceOf("./out.png"), PlaceOf("out.png"));
  EXPECT_EQ(PlaceOf("w//out.png"), PlaceOf("w/./x/../out.png"));
  EXPECT_NE(PlaceOf("out.png"), PlaceOf("out2.png"));
}

TEST_F(PlanTest, ExistingOutputNeedsOverwrite) {
  const std::string input = Touch("a.png");
  const std::string output = Touch("b.png");
  EXPECT_TRUE(absl::IsAlreadyExists(Error({input}, output)));
  EXPECT_TRUE(PlanFiles({input}, output, true).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Error({input}, input)));
}

TEST_F(PlanTest, OutputWithoutAFolder) {
  EXPECT_TRUE(absl::IsNotFound(Error({Touch("a.png")}, Path("none/b.png"))));
  EXPECT_TRUE(absl::IsNotFound(Error({Touch("a.png")}, Path("none/deeper/"))));
  EXPECT_FALSE(PlanFiles({Touch("a.png")}, Touch("file") + "/b.png", false).ok());
}

TEST_F(PlanTest, FolderIsNoOutputFile) {
  fs::create_directory(Path("x.png"));
  EXPECT_TRUE(absl::IsInvalidArgument(CheckWritable(Path("x.png"), true)));
  EXPECT_TRUE(CheckWritable("-", false).ok());
}

}  // namespace
}  // namespace deweather
