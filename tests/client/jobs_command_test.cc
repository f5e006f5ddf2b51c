#include "client/jobs_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "model/base/file.h"
#include "tests/client/fake_training.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

using grpc::Status;
using grpc::StatusCode;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

class JobsCommandTest : public testing::Test {
 protected:
  JobsCommandTest() {
    flags_.server = server_.flags();
    flags_.config = folder_ + "/job.textproto";
    EXPECT_TRUE(WriteFileAtomically(flags_.config, "name: \"rain\"\nsteps: 10\n").ok());
  }

  int Run(int (*run)(const JobsFlags&)) {
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int status = run(flags_);
    stdout_ = testing::internal::GetCapturedStdout();
    stderr_ = testing::internal::GetCapturedStderr();
    return status;
  }

  // Answers with `total` jobs by pages, and remembers their sizes.
  void ServeJobs(int total) {
    service_.list = [this, total](int, const v1::ListJobsRequest& request,
                                  v1::ListJobsResponse* response) {
      const int first = request.page_token().empty() ? 0 : std::stoi(request.page_token());
      const int last = std::min(first + std::min(request.page_size(), 300), total);
      for (int i = first; i < last; ++i) response->add_jobs()->set_id(absl::StrCat("job", i));
      if (last < total) response->set_next_page_token(absl::StrCat(last));
      pages_.push_back(request.page_size());
      return Status::OK;
    };
  }

  const std::string folder_ = NewFolder();
  FakeTraining service_;
  TestServer server_{&service_};
  JobsFlags flags_;
  std::vector<int> pages_;
  std::string stdout_, stderr_;
};

TEST_F(JobsCommandTest, SubmissionHoldsWhatTheFlagsSay) {
  flags_.labels = {"camera=north", "empty=", "sum=1+1=2"};
  flags_.priority = 7;
  flags_.request_id = "once";
  flags_.validate_only = true;
  const absl::StatusOr<v1::SubmitJobRequest> request = SubmissionOf(flags_);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->config().name(), "rain");
  EXPECT_EQ(request->config().steps(), 10);
  EXPECT_EQ(request->labels().at("camera"), "north");
  EXPECT_EQ(request->labels().at("empty"), "");
  EXPECT_EQ(request->labels().at("sum"), "1+1=2");
  EXPECT_EQ(request->priority(), 7);
  EXPECT_EQ(request->request_id(), "once");
  EXPECT_TRUE(request->validate_only());
}

TEST_F(JobsCommandTest, WithoutARequestIdEachSubmissionHasItsOwn) {
  const std::string first = SubmissionOf(flags_)->request_id();
  EXPECT_THAT(first, testing::MatchesRegex("[a-z0-9-]+"));
  EXPECT_LE(first.size(), 64u);
  EXPECT_NE(SubmissionOf(flags_)->request_id(), first);
}

TEST_F(JobsCommandTest, AConfigurationThatIsNoneIsNotSent) {
  ASSERT_TRUE(WriteFileAtomically(flags_.config, "name: \"rain\"\nstep: 10\n").ok());
  EXPECT_EQ(Run(RunJobsSubmit), 2);
  EXPECT_THAT(stderr_, HasSubstr("job.textproto:2: "));
  ASSERT_TRUE(WriteFileAtomically(flags_.config, "name: \"\xff\"").ok());
  EXPECT_EQ(Run(RunJobsSubmit), 2);
  flags_.config = folder_ + "/none";
  EXPECT_EQ(Run(RunJobsSubmit), 1);
  EXPECT_THAT(stderr_, testing::StartsWith("NOT_FOUND: "));
  EXPECT_EQ(service_.calls, 0);
}

TEST_F(JobsCommandTest, LabelsAreKeysAndValues) {
  for (const char* const wrong : {"camera", "=north", ""}) {
    flags_.labels = {wrong};
    EXPECT_EQ(SubmissionOf(flags_).status().code(), absl::StatusCode::kInvalidArgument) << wrong;
    EXPECT_EQ(ListingOf(flags_).status().code(), absl::StatusCode::kInvalidArgument) << wrong;
  }
  flags_.labels = {"a=1", "b=1", "a=2"};
  EXPECT_THAT(std::string(SubmissionOf(flags_).status().message()), HasSubstr("'a=2' is a second"));
}

TEST_F(JobsCommandTest, SubmitTriesAgainWithTheSameRequestId) {
  std::set<std::string> ids;
  service_.submit = [&](int call, const v1::SubmitJobRequest& request, v1::Job* job) {
    ids.insert(request.request_id());
    job->set_id("abcdefghij12");
    return call == 1 ? Status(StatusCode::UNAVAILABLE, "draining") : Status::OK;
  };
  flags_.json = true;
  EXPECT_EQ(Run(RunJobsSubmit), 0);
  EXPECT_EQ(service_.calls, 2);
  EXPECT_EQ(ids.size(), 1u);
  EXPECT_EQ(json::parse(stdout_)["id"], "abcdefghij12");
  EXPECT_EQ(stderr_, "UNAVAILABLE: draining; trying again for up to 30s\n");
}

TEST_F(JobsCommandTest, ASubmissionWithoutAnAnswerTellsHowToRepeatIt) {
  flags_.server.timeout = absl::Milliseconds(500);
  flags_.request_id = "once";
  service_.submit = [](int, const v1::SubmitJobRequest&, v1::Job*) {
    return Status(StatusCode::UNAVAILABLE, "draining");
  };
  EXPECT_EQ(Run(RunJobsSubmit), 1);
  EXPECT_THAT(stderr_, HasSubstr("--request-id once is sure not to make another"));
}

TEST_F(JobsCommandTest, WithoutAConnectionNoJobCanHaveBeenMade) {
  flags_.server = {.server = "127.0.0.1:1", .timeout = absl::Milliseconds(20)};
  EXPECT_EQ(Run(RunJobsSubmit), 1);
  EXPECT_THAT(stderr_, testing::StartsWith("UNAVAILABLE: "));
  EXPECT_THAT(stderr_, testing::Not(HasSubstr("DEADLINE")));
  EXPECT_THAT(stderr_, testing::Not(HasSubstr("may have been made")));
}

TEST_F(JobsCommandTest, ARefusalIsOneLineAndOneObject) {
  flags_.json = true;
  service_.submit = [](int, const v1::SubmitJobRequest&, v1::Job*) {
    return Status(StatusCode::NOT_FOUND, "no data set 'x'");
  };
  EXPECT_EQ(Run(RunJobsSubmit), 1);
  EXPECT_EQ(service_.calls, 1);
  EXPECT_EQ(stderr_, "NOT_FOUND: no data set 'x'\n");
  EXPECT_EQ(json::parse(stdout_)["error"]["code"], "NOT_FOUND");
}

TEST_F(JobsCommandTest, SubmitAndWatchIsJsonLines) {
  service_.submit = [](int, const v1::SubmitJobRequest&, v1::Job* job) {
    job->set_id("abcdefghij12");
    return Status::OK;
  };
  service_.watch = [](int, const v1::WatchJobRequest& request, auto* writer) {
    EXPECT_EQ(request.id(), "abcdefghij12");
    v1::JobEvent event;
    event.set_number(1);
    event.mutable_state_change()->set_state(v1::Job::STATE_FAILED);
    writer->Write(event);
    return Status::OK;
  };
  flags_.json = flags_.watch = true;
  EXPECT_EQ(Run(RunJobsSubmit), 1) << "the job FAILED";
  const size_t line = stdout_.find('\n');
  EXPECT_EQ(json::parse(stdout_.substr(0, line))["id"], "abcdefghij12");
  EXPECT_EQ(json::parse(stdout_.substr(line))["state"], "FAILED");
  flags_.validate_only = true;
  EXPECT_EQ(Run(RunJobsSubmit), 2);
}

TEST_F(JobsCommandTest, ListingHoldsTheFilter) {
  flags_.states = {"running", "Failed"};
  flags_.labels = {"camera=north"};
  flags_.model = "rain";
  const absl::StatusOr<v1::ListJobsRequest> request = ListingOf(flags_);
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_THAT(request->states(), ElementsAre(v1::Job::STATE_RUNNING, v1::Job::STATE_FAILED));
  EXPECT_EQ(request->labels().at("camera"), "north");
  EXPECT_EQ(request->model(), "rain");
  for (const char* const wrong : {"unspecified", "done", ""}) {
    flags_.states = {wrong};
    EXPECT_THAT(std::string(ListingOf(flags_).status().message()), HasSubstr("--state"));
  }
}

TEST_F(JobsCommandTest, ListStopsAtItsLimit) {
  ServeJobs(700);
  flags_.json = true;
  EXPECT_EQ(Run(RunJobsList), 0);
  EXPECT_EQ(json::parse(stdout_)["jobs"].size(), 50u);
  EXPECT_TRUE(json::parse(stdout_)["more"]);
  EXPECT_THAT(pages_, ElementsAre(50));
  flags_.limit = 301;
  EXPECT_EQ(Run(RunJobsList), 0);
  EXPECT_EQ(json::parse(stdout_)["jobs"].size(), 301u);
  EXPECT_EQ(json::parse(stdout_)["jobs"][300]["id"], "job300");
  flags_.limit = -1;
  EXPECT_EQ(Run(RunJobsList), 2);
}

TEST_F(JobsCommandTest, ListReadsAllPages) {
  ServeJobs(700);
  flags_.limit = 0;
  flags_.json = true;
  EXPECT_EQ(Run(RunJobsList), 0);
  EXPECT_THAT(pages_, ElementsAre(1000, 1000, 1000));
  const json told = json::parse(stdout_);
  ASSERT_EQ(told["jobs"].size(), 700u);
  EXPECT_EQ(told["jobs"][699]["id"], "job699");
  EXPECT_FALSE(told["more"]);
}

TEST_F(JobsCommandTest, ATableSaysThatThereIsMore) {
  ServeJobs(3);
  flags_.limit = 2;
  EXPECT_EQ(Run(RunJobsList), 0);
  EXPECT_THAT(stdout_, HasSubstr("\njob1 "));
  EXPECT_THAT(stdout_, testing::EndsWith("the newest 2; --limit 0 lists all\n"));
}

TEST_F(JobsCommandTest, CheckpointsAreListed) {
  service_.artifacts.resize(1);
  service_.artifacts[0].set_name("log.txt");
  flags_.json = true;
  EXPECT_EQ(Run(RunJobsCheckpoints), 0);
  EXPECT_EQ(json::parse(stdout_)["artifacts"][0]["name"], "log.txt");
}

TEST_F(JobsCommandTest, WhatTheServerLacksIsAnError) {
  EXPECT_EQ(Run(RunJobsCancel), 1);
  EXPECT_THAT(stderr_, testing::StartsWith("UNIMPLEMENTED: "));
}

}  // namespace
}  // namespace deweather
