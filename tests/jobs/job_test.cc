#include "training/jobs/job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace deweather {
namespace {

using testing::HasSubstr;

// All that is legal.
const std::map<std::pair<JobState, JobAction>, JobState> kLegal = {
    {{JobState::kQueued, JobAction::kStart}, JobState::kRunning},
    {{JobState::kQueued, JobAction::kCancel}, JobState::kCancelled},
    {{JobState::kQueued, JobAction::kFail}, JobState::kFailed},
    {{JobState::kRunning, JobAction::kRequeue}, JobState::kQueued},
    {{JobState::kRunning, JobAction::kCancel}, JobState::kCancelling},
    {{JobState::kRunning, JobAction::kSucceed}, JobState::kSucceeded},
    {{JobState::kRunning, JobAction::kFail}, JobState::kFailed},
    {{JobState::kCancelling, JobAction::kStopped}, JobState::kCancelled},
    {{JobState::kCancelling, JobAction::kSucceed}, JobState::kSucceeded},
};

TEST(JobTest, TransitionOfEveryStateByEveryAction) {
  for (const JobState state : kJobStates) {
    for (const JobAction action : kJobActions) {
      const auto legal = kLegal.find({state, action});
      const auto expected =
          legal == kLegal.end() ? std::nullopt : std::optional<JobState>(legal->second);
      EXPECT_EQ(Next(state, action), expected) << Name(state) << " " << Name(action);
    }
  }
}

TEST(JobTest, TransitionsLeadNowhereFromTerminalStatesAndOnFromAllOthers) {
  const std::set<JobState> terminal = {JobState::kSucceeded, JobState::kFailed,
                                       JobState::kCancelled};
  for (const JobState state : kJobStates) {
    bool leads_on = false;
    for (const JobAction action : kJobActions) leads_on |= Next(state, action).has_value();
    EXPECT_EQ(IsTerminal(state), terminal.contains(state)) << Name(state);
    EXPECT_EQ(leads_on, !terminal.contains(state)) << Name(state);
  }
}

TEST(JobTest, NamesAreDistinctAndParse) {
  std::set<std::string> names;
  for (const JobState state : kJobStates) {
    names.insert(std::string(Name(state)));
    const auto parsed = ParseJobState(Name(state));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, state);
  }
  EXPECT_EQ(names, (std::set<std::string>{"CANCELLED", "CANCELLING", "FAILED", "QUEUED", "RUNNING",
                                          "SUCCEEDED"}));
  std::set<std::string> actions;
  for (const JobAction action : kJobActions) actions.insert(std::string(Name(action)));
  EXPECT_EQ(actions.size(), kJobActions.size());
  for (const char* name : {"", "queued", "QUEUED ", "STATE_QUEUED"}) {
    EXPECT_EQ(ParseJobState(name).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST(JobTest, IdsAreTwelveLowerCaseLettersAndDigits) {
  EXPECT_TRUE(IsJobId("0123456789az"));
  for (const std::string id : {"", "0123456789a", "0123456789abc", "0123456789aZ", "0123456789a.",
                               "../jobs/abcd", "0123456789a\n", "0123456789\xc3\xa4"}) {
    EXPECT_FALSE(IsJobId(id)) << id;
  }
}

void ExpectInvalid(const NewJob& job, const std::string& message) {
  const absl::Status status = Validate(job);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << message;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

TEST(JobTest, ValidatesWhatACallerSubmits) {
  NewJob most = {.priority = 100, .request_id = std::string(64, 'r')};
  for (int i = 0; i < 32; ++i) most.labels[absl::StrCat("key-", i)] = std::string(255, 'v');
  most.labels.erase("key-0");
  most.labels[std::string(63, 'k')] = "";
  EXPECT_TRUE(Validate(most).ok()) << Validate(most);
  EXPECT_TRUE(Validate({.priority = -100}).ok());

  NewJob many = most;
  many.labels["one.more"] = "";
  ExpectInvalid(many, "labels has 33 entries; it must have at most 32");
  ExpectInvalid({.labels = {{"", "x"}}}, "a key of labels is 0 bytes long; it must be 1 to 63");
  ExpectInvalid({.labels = {{std::string(64, 'k'), ""}}}, "64 bytes long; it must be 1 to 63");
  ExpectInvalid({.labels = {{"a b", ""}}}, "a key of labels is 'a b'");
  ExpectInvalid({.labels = {{"a", std::string(256, 'v')}}},
                "labels['a'] is 256 bytes long; it must be at most 255");
  ExpectInvalid({.priority = 101}, "priority is 101; it must be in [-100, 100]");
  ExpectInvalid({.priority = -101}, "priority is -101");
  ExpectInvalid({.request_id = std::string(65, 'r')}, "request_id is 65 bytes long");
  ExpectInvalid({.request_id = "a/b"}, "request_id is 'a/b'");
}

}  // namespace
}  // namespace deweather
