// A process that changes a store is killed with SIGKILL at seeded instants: before, within and after its
// writes, and whenever. What it acknowledged is there in the next life, and nothing is there by half.

#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "training/jobs/job_store.h"

namespace deweather {
namespace {

namespace fs = std::filesystem;

// DEWEATHER_KILLS, or a number that does not take long.
uint32_t Kills() {
  int kills = 0;
  const char* const text = std::getenv("DEWEATHER_KILLS");
  return text != nullptr && absl::SimpleAtoi(text, &kills) && kills > 0 ? kills : 50;
}

constexpr int kAll = 1 << 30;
const absl::Time kNoon = absl::FromUnixSeconds(1'700'000'000);

// --- the one that is killed ---

enum class KillPoint { kBeforeWrite, kWithinWrite, kAfterWrite, kBeforeAnswer, kFromOutside };
constexpr uint32_t kKillPoints = 5;

// Of one process: where it ends, and after how many of those.
KillPoint kill_point = KillPoint::kFromOutside;
int instants_left = 0;

bool IsLast(KillPoint first, KillPoint last) {
  return first <= kill_point && kill_point <= last && --instants_left == 0;
}

ssize_t KillingWrite(int file, const void* bytes, size_t count, off_t offset) {
  if (!IsLast(KillPoint::kBeforeWrite, KillPoint::kAfterWrite)) {
    return pwrite(file, bytes, count, offset);
  }
  const size_t part = kill_point == KillPoint::kBeforeWrite   ? 0
                      : kill_point == KillPoint::kWithinWrite ? count / 2
                                                              : count;
  if (part > 0 && pwrite(file, bytes, part, offset) < 0) perror("pwrite");
  raise(SIGKILL);
  return -1;
}

void ReplaceWrites() {
  sqlite3_vfs* const vfs = sqlite3_vfs_find(nullptr);
  for (const char* name : {"pwrite", "pwrite64"}) {
    vfs->xSetSystemCall(vfs, name, reinterpret_cast<sqlite3_syscall_ptr>(KillingWrite));
  }
}

class Victim {
 public:
  Victim(const std::string& path, uint32_t seed, int out)
      : out_(out), random_(seed), seed_(seed), store_(Opened(path)) {}

  // Steps that are told before ("begin") and, once acknowledged, after ("done ID EVENT").
  void Step(int number) {
    Say("begin\n");
    const std::vector<Job> jobs = Required(store_->List({.limit = 8}));
    const Job job = jobs.empty() || Draw(4) == 0 ? Submit(number) : Change(jobs[Draw(jobs.size())]);
    if (IsLast(KillPoint::kBeforeAnswer, KillPoint::kBeforeAnswer)) raise(SIGKILL);
    Say(absl::StrCat("done ", job.id, " ", job.last_event, "\n"));
  }

 private:
  std::unique_ptr<JobStore> Opened(const std::string& path) {
    return Required(JobStore::Open(path));
  }
  template <typename Value>
  Value Required(absl::StatusOr<Value> value) {
    if (value.ok()) return *std::move(value);
    Say(absl::StrCat("error ", value.status().ToString(), "\n"));
    _exit(1);
  }
  void Say(const std::string& line) {
    if (write(out_, line.data(), line.size()) < 0) _exit(2);
  }
  size_t Draw(size_t below) { return std::uniform_int_distribution<size_t>(0, below - 1)(random_); }

  Job Submit(int number) {
    const std::string request = absl::StrCat("r-", seed_, "-", number);
    return Required(store_->Submit({.model = "rain",
                                    .labels = {{"request", request}, {"kind", "victim"}},
                                    .request_id = request,
                                    .request_digest = "d"},
                                   kNoon));
  }
  // A legal transition, or three events in one transaction.
  Job Change(const Job& job) {
    const JobAction action = kJobActions[Draw(kJobActions.size())];
    if (Next(job.state, action).has_value()) {
      return Required(store_->Apply(job.id, {.action = action, .reason = "drawn"}, kNoon));
    }
    if (!IsTerminal(job.state)) {
      const int64_t step = job.last_event;
      std::vector<JobEvent> events(3);
      events[0].kind = JobEventKind::kProgress;
      events[0].progress.step = step;
      events[1].kind = JobEventKind::kCheckpoint;
      events[2].kind = JobEventKind::kEvaluation;
      const absl::Status told = store_->AddEvents(job.id, events);
      if (!told.ok()) Required<Job>(told);
    }
    return Required(store_->Get(job.id));
  }

  const int out_;
  std::mt19937 random_;
  const uint32_t seed_;
  const std::unique_ptr<JobStore> store_;
};

// --- the one that looks after ---

using LastEvents = std::map<std::string, int64_t>;  // by job

struct Life {
  LastEvents done;         // acknowledged
  bool in_a_step = false;  // killed between "begin" and "done"
};

// REQUIRES: no other thread runs.
Life LiveAndBeKilled(const std::string& path, uint32_t seed) {
  std::mt19937 random(seed);
  kill_point = static_cast<KillPoint>(seed % kKillPoints);
  const bool in_write = kill_point <= KillPoint::kAfterWrite;
  const int instant = std::uniform_int_distribution<int>(1, in_write ? 250 : 40)(random);
  std::array<int, 2> pipe_ends = {};
  if (pipe(pipe_ends.data()) != 0) ADD_FAILURE() << "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    close(pipe_ends[0]);
    instants_left = instant;
    ReplaceWrites();
    Victim victim(path, seed, pipe_ends[1]);
    for (int number = 0; number < 5000; ++number) victim.Step(number);
    _exit(3);
  }
  close(pipe_ends[1]);
  Life life;
  FILE* const lines = fdopen(pipe_ends[0], "r");
  std::array<char, 512> line = {};
  for (int number = 1; fgets(line.data(), line.size(), lines) != nullptr; ++number) {
    std::istringstream words(line.data());
    std::string word, id;
    int64_t event = 0;
    words >> word >> id >> event;
    life.in_a_step = word == "begin";
    if (word == "done") life.done[id] = event;
    if (word == "error") ADD_FAILURE() << line.data();
    if (kill_point == KillPoint::kFromOutside && number == instant) kill(child, SIGKILL);
  }
  fclose(lines);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  return life;
}

// Whether one step leads from the one state to the other.
bool IsStep(JobState from, JobState to) {
  return std::ranges::any_of(kJobActions, [&](JobAction a) { return Next(from, a) == to; });
}

// What a job's row says is what its events say, and all of that is legal.
void CheckWhole(const Job& job, const std::vector<JobEvent>& events) {
  ASSERT_EQ(static_cast<int64_t>(events.size()), job.last_event);
  std::vector<JobState> states;
  std::map<JobEventKind, int> kinds;
  int64_t number = 0, told = 0;
  for (const JobEvent& event : events) {
    EXPECT_EQ(event.number, ++number);
    ++kinds[event.kind];
    if (event.kind == JobEventKind::kState) states.push_back(event.state);
    if (event.kind == JobEventKind::kProgress) told = event.progress.step;
  }
  ASSERT_FALSE(states.empty());
  EXPECT_EQ(states.front(), JobState::kQueued);
  for (size_t i = 1; i < states.size(); ++i) EXPECT_TRUE(IsStep(states[i - 1], states[i]));
  EXPECT_EQ(states.back(), job.state);
  EXPECT_EQ(std::ranges::count(states, JobState::kRunning), job.attempts);
  EXPECT_EQ(job.end_time.has_value(), IsTerminal(job.state));
  EXPECT_EQ(job.progress.value_or(JobProgress()).step, told);
  EXPECT_EQ(kinds[JobEventKind::kProgress], kinds[JobEventKind::kCheckpoint]);
  EXPECT_EQ(kinds[JobEventKind::kProgress], kinds[JobEventKind::kEvaluation]);
  EXPECT_EQ(job.submitted.labels.size(), 2u);
  EXPECT_EQ(job.submitted.labels.at("request"), job.submitted.request_id);
}

class JobStoreKillTest : public testing::Test {
 protected:
  JobStoreKillTest() : folder_(testing::TempDir() + "/job_store_kill") {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~JobStoreKillTest() override { fs::remove_all(folder_); }

  const std::string folder_;
};

// `known` becomes what the file holds. Returns the steps that are there though nobody was told.
int CheckLife(const std::string& path, const Life& life, LastEvents* known) {
  auto store = JobStore::Open(path);
  EXPECT_TRUE(store.ok()) << store.status();
  if (!store.ok()) return 0;
  for (const auto& [id, event] : life.done) (*known)[id] = event;
  const std::vector<Job> jobs = (*store)->List({.limit = kAll}).value();
  LastEvents found;
  int untold = 0;
  for (const Job& job : jobs) {
    CheckWhole(job, (*store)->Events(job.id, 0, kAll).value());
    found[job.id] = job.last_event;
    untold += !known->contains(job.id) || known->at(job.id) < job.last_event;
    EXPECT_EQ((*store)->Submit(job.submitted, kNoon)->id, job.id);
  }
  for (const auto& [id, event] : *known) {
    EXPECT_TRUE(found.contains(id)) << "lost: " << id;
    EXPECT_GE(found[id], event) << "went back: " << id;
  }
  *known = std::move(found);
  return untold;
}

TEST_F(JobStoreKillTest, NothingAcknowledgedIsLostAndNothingIsThereByHalf) {
  LastEvents known;
  std::string path;
  const uint32_t all = Kills();
  uint32_t at_rest = 0, undone = 0, kept = 0;
  for (uint32_t kills = 0; kills < all; ++kills) {
    SCOPED_TRACE(kills);
    if (kills % 20 == 0) {  // a life that begins with the file
      path = absl::StrCat(folder_, "/", kills, ".db");
      known.clear();
    }
    const Life life = LiveAndBeKilled(path, kills);
    const int untold = CheckLife(path, life, &known);
    ASSERT_LE(untold, life.in_a_step ? 1 : 0);
    ++(!life.in_a_step ? at_rest : untold > 0 ? kept : undone);
    if (HasFailure()) break;
  }
  printf(
      "%u kills: %u at rest or while opening, %u in a step that is undone, %u in one that is "
      "kept\n",
      all, at_rest, undone, kept);
  EXPECT_GE(undone, all / 25);
  EXPECT_GE(kept, all / 25);
}

}  // namespace
}  // namespace deweather
