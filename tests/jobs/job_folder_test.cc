#include "training/jobs/job_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "model/base/error_reason.h"
#include "model/base/file.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr char kId[] = "abcdefghij01";

class JobFolderTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return JobFolder(jobs_, kId) + "/" + name; }

  void Write(const std::string& name, const std::string& text = "text") const {
    fs::create_directories(fs::path(Path(name)).parent_path());
    ASSERT_TRUE(WriteFileAtomically(Path(name), text).ok());
  }

  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    const absl::StatusOr<std::vector<Artifact>> artifacts = ListArtifacts(jobs_, kId);
    EXPECT_TRUE(artifacts.ok()) << artifacts.status();
    if (!artifacts.ok()) return names;
    for (const Artifact& artifact : *artifacts) names.push_back(artifact.name);
    return names;
  }

  // What a caller reads; else the error.
  absl::StatusOr<std::string> Read(const std::string& name) const {
    const absl::StatusOr<int> file = OpenArtifact(jobs_, kId, name);
    if (!file.ok()) return file.status();
    std::array<char, 100> text;
    const ssize_t got = read(*file, text.data(), text.size());
    close(*file);
    return std::string(text.data(), got > 0 ? got : 0);
  }

  std::string ReasonOf(const std::string& name) const {
    const absl::Status status = Read(name).status();
    EXPECT_FALSE(status.ok()) << name;
    return ErrorReason(status);
  }

  const std::string jobs_ = NewFolder() + "/jobs";
};

TEST_F(JobFolderTest, HasAPlaceForEverything) {
  EXPECT_EQ(JobStorePath("/d/jobs"), "/d/jobs/jobs.db");
  EXPECT_EQ(JobConfigPath("/d/jobs", kId), "/d/jobs/abcdefghij01/config.textproto");
  EXPECT_EQ(JobLogPath("/d/jobs", kId), "/d/jobs/abcdefghij01/log.txt");
  EXPECT_EQ(JobRunFolder("/d/jobs", kId), "/d/jobs/abcdefghij01/run");
}

TEST_F(JobFolderTest, ListsCheckpointsThenModelsThenTheRest) {
  for (const char* name :
       {"config.textproto", "log.txt", "log.txt.1", "run/log.jsonl", "run/curve.png",
        "run/events.out.tfevents.1.host", "run/rain.safetensors", "run/rain-best.safetensors",
        "run/checkpoints/step-000000010.safetensors", "run/checkpoints/step-000000200.safetensors",
        "run/checkpoints/other.safetensors", "run/notes"}) {
    Write(name);
  }
  EXPECT_THAT(Names(),
              ElementsAre("run/checkpoints/step-000000200.safetensors",
                          "run/checkpoints/step-000000010.safetensors", "run/rain-best.safetensors",
                          "run/rain.safetensors", "config.textproto", "log.txt", "log.txt.1",
                          "run/checkpoints/other.safetensors", "run/curve.png",
                          "run/events.out.tfevents.1.host", "run/log.jsonl", "run/notes"));
  const std::vector<Artifact> artifacts = *ListArtifacts(jobs_, kId);
  std::vector<ArtifactKind> kinds;
  for (const Artifact& artifact : artifacts) kinds.push_back(artifact.kind);
  using enum ArtifactKind;
  EXPECT_THAT(kinds, ElementsAre(kCheckpoint, kCheckpoint, kModel, kModel, kConfig, kLog, kLog,
                                 kOther, kPicture, kLog, kLog, kOther));
}

TEST_F(JobFolderTest, TellsSizeTimeAndStep) {
  const absl::Time before = absl::Now() - absl::Seconds(5);
  Write("run/checkpoints/step-000000010.safetensors", "0123456789");
  const std::vector<Artifact> artifacts = *ListArtifacts(jobs_, kId);
  ASSERT_EQ(artifacts.size(), 1u);
  EXPECT_EQ(artifacts[0].bytes, 10);
  EXPECT_EQ(artifacts[0].step, 10);
  EXPECT_GE(artifacts[0].update_time, before);
  EXPECT_LE(artifacts[0].update_time, absl::Now() + absl::Seconds(5));
}

TEST_F(JobFolderTest, DoesNotShowWhatIsHiddenOrInTheMaking) {
  for (const char* name : {"run/.lock", "run/.hidden/file", "run/a.partial.0123456789abcdef",
                           "run/checkpoints/step-000000010.safetensors.partial.0123456789abcdef"}) {
    Write(name);
    EXPECT_EQ(ReasonOf(name), "UNKNOWN_ARTIFACT");
  }
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(JobFolderTest, FollowsNoLinkAndOpensNothingButFiles) {
  Write("run/file");
  const std::string secret = jobs_ + "/secret";
  ASSERT_TRUE(WriteFileAtomically(secret, "secret").ok());
  fs::create_symlink(secret, Path("run/link"));
  fs::create_directory_symlink(jobs_, Path("run/folder"));
  fs::create_directories(Path("run/empty"));
  ASSERT_EQ(mkfifo(Path("run/pipe").c_str(), 0644), 0);
  EXPECT_THAT(Names(), ElementsAre("run/file"));
  for (const char* name : {"run/link", "run/folder/secret", "run/empty", "run/pipe", "run",
                           "run/file/more", "run/nothing"}) {
    EXPECT_EQ(ReasonOf(name), "UNKNOWN_ARTIFACT") << name;
  }
  EXPECT_EQ(ReasonOf("run/" + std::string(300, 'a')), "UNKNOWN_ARTIFACT");
  EXPECT_EQ(*Read("run/file"), "text");
}

TEST_F(JobFolderTest, AFolderThatIsALinkIsNoJobs) {
  Write("run/file");
  fs::rename(JobFolder(jobs_, kId), jobs_ + "/elsewhere");
  fs::create_directory_symlink(jobs_ + "/elsewhere", JobFolder(jobs_, kId));
  EXPECT_EQ(ReasonOf("run/file"), "UNKNOWN_ARTIFACT");
}

TEST_F(JobFolderTest, NamesThatLeadElsewhereAreWrong) {
  Write("run/file");
  ASSERT_TRUE(WriteFileAtomically(jobs_ + "/secret", "secret").ok());
  for (const std::string& name :
       {std::string("../secret"), std::string("run/../../secret"), std::string("/etc/passwd"),
        std::string("run//file"), std::string("./run/file"), std::string("run/file/"),
        std::string(""), std::string("."), std::string(".."), std::string("run/fi\0le", 9),
        std::string("\0", 1)}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Read(name).status())) << name;
  }
  for (const char* id : {"", "..", "../elsewhere", "abcdefghij0", "abcdefghij01/run"}) {
    EXPECT_FALSE(OpenArtifact(jobs_, id, "file").ok()) << id;
    EXPECT_FALSE(ListArtifacts(jobs_, id).ok()) << id;
  }
}

TEST_F(JobFolderTest, WhatIsOpenIsOneFileThoughItIsReplaced) {
  Write("run/file", "old");
  const int file = *OpenArtifact(jobs_, kId, "run/file");
  Write("run/file", "new");
  std::array<char, 10> text;
  EXPECT_EQ(read(file, text.data(), text.size()), 3);
  EXPECT_EQ(std::string(text.data(), 3), "old");
  close(file);
}

TEST_F(JobFolderTest, IsEmptyBeforeItIsThere) {
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_EQ(ReasonOf("log.txt"), "UNKNOWN_ARTIFACT");
  EXPECT_EQ(NewestCheckpoint(jobs_, kId), std::nullopt);
  EXPECT_EQ(ResultModel(jobs_, kId, "rain"), std::nullopt);
  EXPECT_EQ(FolderBytes(JobFolder(jobs_, kId)), 0);
}

TEST_F(JobFolderTest, NewestCheckpointIsThatOfTheLastStep) {
  Write("run/checkpoints/step-000000900.safetensors");
  Write("run/checkpoints/step-1000000000.safetensors");
  Write("run/checkpoints/step-000001000.safetensors");
  Write("run/checkpoints/zzz.safetensors");
  Write("run/step-2000000000.safetensors");
  EXPECT_EQ(NewestCheckpoint(jobs_, kId), Path("run/checkpoints/step-1000000000.safetensors"));
}

TEST_F(JobFolderTest, ResultIsTheBestModelElseTheNewest) {
  Write("run/rain.safetensors");
  EXPECT_EQ(ResultModel(jobs_, kId, "rain"), Path("run/rain.safetensors"));
  Write("run/rain-best.safetensors");
  EXPECT_EQ(ResultModel(jobs_, kId, "rain"), Path("run/rain-best.safetensors"));
  EXPECT_EQ(ResultModel(jobs_, kId, "snow"), std::nullopt);
}

TEST_F(JobFolderTest, BytesOfAFolderCountHardLinksOnce) {
  Write("run/a", std::string(1000, 'a'));
  Write("log.txt", std::string(50, 'b'));
  fs::create_hard_link(Path("run/a"), Path("run/checkpoint"));
  fs::create_symlink(Path("run/a"), Path("run/link"));
  EXPECT_EQ(FolderBytes(JobFolder(jobs_, kId)), 1050);
}

}  // namespace
}  // namespace deweather
