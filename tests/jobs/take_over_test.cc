#include "training/jobs/take_over.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "model/base/error_reason.h"
#include "model/base/file.h"
#include "tests/new_folder.h"
#include "training/jobs/job_folder.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

constexpr char kCheckpoint[] = "run/checkpoints/step-000000010.safetensors";

class TakeOverTest : public testing::Test {
 protected:
  std::string Made(JobState state, const std::string& resumed_from = "") {
    const std::string id =
        store_->Submit({.model = "north", .resumed_from = resumed_from}, absl::Now())->id;
    if (state != JobState::kQueued) Apply(id, JobAction::kStart);
    if (state == JobState::kFailed) Apply(id, JobAction::kFail);
    return id;
  }
  void Apply(const std::string& id, JobAction action) {
    ASSERT_TRUE(store_->Apply(id, {.action = action}, absl::Now()).ok());
  }
  std::string PathOf(const std::string& id, const std::string& name) const {
    return JobFolder(jobs_, id) + "/" + name;
  }
  void Write(const std::string& id, const std::string& name, const std::string& bytes) const {
    fs::create_directories(fs::path(PathOf(id, name)).parent_path());
    ASSERT_TRUE(WriteFileAtomically(PathOf(id, name), bytes).ok());
  }
  std::string Read(const std::string& id, const std::string& name) const {
    return ReadFile(PathOf(id, name)).value_or("none");
  }
  absl::Status Take(const std::string& id) { return TakeOver(*store_, jobs_, *store_->Get(id)); }
  // A job that failed after ten steps.
  std::string Failed() {
    const std::string id = Made(JobState::kFailed);
    Write(id, kCheckpoint, "checkpoint");
    Write(id, "run/north-best.safetensors", "best");
    Write(id, "run/log.jsonl", "{}\n");
    Write(id, "log.txt", "printed");
    return id;
  }

  const std::string jobs_ = NewFolder();
  std::unique_ptr<JobStore> store_ = JobStore::Open(JobStorePath(jobs_)).value();
};

TEST_F(TakeOverTest, AResumedJobHasTheRunOfTheOther) {
  const std::string old = Failed(), job = Made(JobState::kQueued, old);
  ASSERT_TRUE(Take(job).ok());
  EXPECT_EQ(Read(job, kCheckpoint), "checkpoint");
  EXPECT_EQ(Read(job, "run/north-best.safetensors"), "best");
  EXPECT_EQ(Read(job, "run/log.jsonl"), "{}\n");
  EXPECT_EQ(Read(job, "log.txt"), "none");  // another program's
  EXPECT_TRUE(fs::equivalent(PathOf(old, kCheckpoint), PathOf(job, kCheckpoint)));
  EXPECT_FALSE(fs::equivalent(PathOf(old, "run/log.jsonl"), PathOf(job, "run/log.jsonl")));
  EXPECT_FALSE(fs::exists(PathOf(job, ".take-over")));
}

TEST_F(TakeOverTest, ARunThatHasBegunIsLeftAlone) {
  const std::string old = Failed(), job = Made(JobState::kQueued, old);
  ASSERT_TRUE(Take(job).ok());
  Write(job, kCheckpoint, "later");
  ASSERT_TRUE(Take(job).ok());
  EXPECT_EQ(Read(job, kCheckpoint), "later");
  EXPECT_EQ(Read(old, kCheckpoint), "checkpoint");
}

TEST_F(TakeOverTest, WhatAKillLeftIsMadeAnew) {
  const std::string old = Failed(), job = Made(JobState::kQueued, old);
  Write(job, ".take-over/checkpoints/step-000000010.safetensors", "torn");
  fs::create_directories(JobRunFolder(jobs_, job));  // the runner's, still empty
  ASSERT_TRUE(Take(job).ok());
  EXPECT_EQ(Read(job, kCheckpoint), "checkpoint");
}

TEST_F(TakeOverTest, AJobThatNeverRanLeavesNothingToTakeOver) {
  const std::string old = Made(JobState::kFailed), job = Made(JobState::kQueued, old);
  ASSERT_TRUE(Take(job).ok());
  EXPECT_FALSE(NewestCheckpoint(jobs_, job).has_value());
  ASSERT_TRUE(DeleteJob(*store_, jobs_, old).ok());
  EXPECT_TRUE(Take(job).ok());  // nothing was lost with it
}

TEST_F(TakeOverTest, LinksAndFilesInTheMakingAreNotTakenOver) {
  const std::string old = Failed(), job = Made(JobState::kQueued, old);
  fs::create_symlink("/etc/passwd", PathOf(old, "run/link.safetensors"));
  Write(old, "run/north.safetensors.partial.0123456789abcdef", "half");
  Write(old, "run/.lock", "");
  ASSERT_TRUE(Take(job).ok());
  EXPECT_FALSE(fs::exists(fs::symlink_status(PathOf(job, "run/link.safetensors"))));
  EXPECT_EQ(Read(job, "run/north.safetensors.partial.0123456789abcdef"), "none");
  EXPECT_EQ(Read(job, "run/.lock"), "none");
}

TEST_F(TakeOverTest, AJobWhoseParentIsGoneFails) {
  const std::string old = Failed(), job = Made(JobState::kQueued, old);
  ASSERT_TRUE(DeleteJob(*store_, jobs_, old).ok());
  const absl::Status status = Take(job);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find(old), std::string::npos) << status;
  EXPECT_TRUE(Take(Made(JobState::kQueued)).ok());  // it goes on from none
}

TEST_F(TakeOverTest, OnlyAJobThatHasEndedIsDeleted) {
  const std::string running = Made(JobState::kRunning), failed = Failed();
  Write(running, kCheckpoint, "checkpoint");
  const absl::Status status = DeleteJob(*store_, jobs_, running).status();
  EXPECT_EQ(ErrorReason(status), "JOB_STATE");
  EXPECT_EQ(Read(running, kCheckpoint), "checkpoint");
  EXPECT_EQ(ErrorReason(DeleteJob(*store_, jobs_, "abcdefghijkl").status()), "UNKNOWN_JOB");
  const std::string left = DeleteJob(*store_, jobs_, failed).value();
  EXPECT_FALSE(fs::exists(JobFolder(jobs_, failed)));
  EXPECT_TRUE(fs::exists(left));
  RemoveFolder(left);
  EXPECT_FALSE(fs::exists(left));
}

// A disk that is full for SQLite while this file is there.
std::string filling;

ssize_t WriteUnlessFull(int file, const void* bytes, size_t count, off_t offset) {
  if (!fs::exists(filling)) return pwrite(file, bytes, count, offset);
  errno = ENOSPC;
  return -1;
}

class FullDiskTest : public TakeOverTest {
 protected:
  ~FullDiskTest() override { Replace(nullptr); }
  void FillWith(const std::string& path) {
    filling = path;
    Replace(reinterpret_cast<sqlite3_syscall_ptr>(WriteUnlessFull));
  }
  static void Replace(sqlite3_syscall_ptr call) {
    sqlite3_vfs* const vfs = sqlite3_vfs_find(nullptr);
    for (const char* name : {"pwrite", "pwrite64"}) vfs->xSetSystemCall(vfs, name, call);
  }
};

TEST_F(FullDiskTest, AJobThatFillsTheDiskIsDeleted) {
  const std::string job = Failed(), swept = Failed();
  FillWith(jobs_ + "/.deleted-" + job + "/" + kCheckpoint);
  ASSERT_TRUE(DeleteJob(*store_, jobs_, job).ok());
  EXPECT_TRUE(absl::IsNotFound(store_->Get(job).status()));
  fs::rename(JobFolder(jobs_, swept), jobs_ + "/.deleted-" + swept);
  FillWith(jobs_ + "/.deleted-" + swept + "/" + kCheckpoint);
  ASSERT_TRUE(SweepDeleted(*store_, jobs_).ok());
  EXPECT_TRUE(absl::IsNotFound(store_->Get(swept).status()));
}

TEST_F(FullDiskTest, ADeletionThatMakesTooLittleRoomIsFinishedLater) {
  const std::string job = Failed();
  FillWith(jobs_);
  EXPECT_EQ(ErrorReason(DeleteJob(*store_, jobs_, job).status()), "DISK_FULL");
  EXPECT_TRUE(store_->Get(job).ok());
  FillWith("none");
  ASSERT_TRUE(SweepDeleted(*store_, jobs_).ok());
  EXPECT_TRUE(absl::IsNotFound(store_->Get(job).status()));
  EXPECT_FALSE(fs::exists(jobs_ + "/.deleted-" + job));
}

TEST_F(TakeOverTest, AKillWithinADeletionLeavesNothing) {
  const std::string before = Failed(), after = Failed(), kept = Failed();
  // As if the server was killed between the two steps, and after both.
  fs::rename(JobFolder(jobs_, before), jobs_ + "/.deleted-" + before);
  ASSERT_TRUE(DeleteJob(*store_, jobs_, after).ok());
  ASSERT_TRUE(SweepDeleted(*store_, jobs_).ok());
  EXPECT_TRUE(absl::IsNotFound(store_->Get(before).status()));
  EXPECT_FALSE(fs::exists(jobs_ + "/.deleted-" + before));
  EXPECT_FALSE(fs::exists(jobs_ + "/.deleted-" + after));
  EXPECT_EQ(Read(kept, kCheckpoint), "checkpoint");
  EXPECT_TRUE(store_->Get(kept).ok());
}

}  // namespace
}  // namespace deweather
