#include <deweather/jobs.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "model/base/sha256.h"
#include "tests/client_cpp/fake_services.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

using grpc::Status;
using grpc::StatusCode;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::StartsWith;

constexpr char kText[] = R"(name: "tiny"
data { clean { dir: "scenes" weather: "rain" } crop_px: 32 }
steps: 100
max_time { seconds: 90 }
)";
constexpr char kJson[] = R"( {"name": "tiny", "steps": "100", "maxTime": "90s",
  "data": {"clean": [{"dir": "scenes", "weather": "rain"}], "cropPx": 32}})";

class JobsTest : public ClientTest {
 protected:
  JobsTest() {
    jobs_.submit = [this](const v1::SubmitJobRequest& request, v1::Job* job) {
      submitted_.push_back(request);
      job->set_id("abcdefghijkl");
      job->set_state(v1::Job::STATE_QUEUED);
      return submitted_.size() < answered_at_ ? Status(StatusCode::UNAVAILABLE, "away")
                                              : Status::OK;
    };
  }

  Job Submit(const std::string& config) {
    Submission submission;
    submission.config = config;
    submission.labels = {{"camera", "north"}};
    submission.priority = -3;
    return client_->SubmitJob(submission);
  }

  std::vector<v1::SubmitJobRequest> submitted_;
  size_t answered_at_ = 1;
};

TEST_F(JobsTest, AConfigurationIsTextOrJson) {
  EXPECT_EQ(Submit(kText).id, "abcdefghijkl");
  Submit(kJson);
  ASSERT_EQ(submitted_.size(), 2U);
  const v1::TrainConfig& config = submitted_[0].config();
  EXPECT_EQ(config.name(), "tiny");
  EXPECT_EQ(config.steps(), 100);
  EXPECT_EQ(config.max_time().seconds(), 90);
  EXPECT_EQ(config.data().clean(0).dir(), "scenes");
  EXPECT_EQ(config.SerializeAsString(), submitted_[1].config().SerializeAsString());
  EXPECT_EQ(submitted_[0].labels().at("camera"), "north");
  EXPECT_EQ(submitted_[0].priority(), -3);
}

TEST_F(JobsTest, WhatIsWrongWithAConfiguration) {
  const Error text = ErrorOf([&] { Submit("name: \"tiny\"\nstep: 100\n"); });
  EXPECT_EQ(text.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(text.message(), AllOf(StartsWith("config:2: "), HasSubstr("step")));
  EXPECT_THAT(ErrorOf([&] { Submit("{\"step\": 100}"); }).message(), HasSubstr("step"));
  EXPECT_THAT(ErrorOf([&] { Submit(std::string(2 << 20, ' ')); }).message(),
              HasSubstr("2097152 bytes; it must be UTF-8 of at most 1048576"));
  EXPECT_TRUE(submitted_.empty());
}

TEST_F(JobsTest, ASubmissionIsRepeatedAsTheSameRequest) {
  answered_at_ = 2;
  Submit(kText);
  ASSERT_EQ(submitted_.size(), 2U);
  EXPECT_THAT(submitted_[0].request_id(), StartsWith("cpp-"));
  EXPECT_EQ(submitted_[0].request_id(), submitted_[1].request_id());
}

TEST_F(JobsTest, AListEndsAtItsLimit) {
  std::vector<v1::ListJobsRequest> asked;
  jobs_.list = [&](const v1::ListJobsRequest& request, v1::ListJobsResponse* response) {
    asked.push_back(request);
    for (int i = 0; i < 2; ++i) response->add_jobs();
    response->set_next_page_token("more");
    return Status::OK;
  };
  JobFilter filter;
  filter.states = {JobState::kFailed};
  filter.labels = {{"camera", "north"}};
  filter.limit = 3;
  EXPECT_EQ(client_->ListJobs(filter).size(), 3U);
  ASSERT_EQ(asked.size(), 2U);
  EXPECT_EQ(asked[1].page_token(), "more");
  EXPECT_EQ(asked[1].page_size(), 3);
  EXPECT_THAT(asked[1].states(), ElementsAre(v1::Job::STATE_FAILED));
}

class WatchTest : public JobsTest {
 protected:
  WatchTest() {
    jobs_.get = [](grpc::ServerContext&, v1::Job* job) {
      job->set_state(v1::Job::STATE_RUNNING);
      return Status::OK;
    };
    jobs_.watch = [](grpc::ServerContext&, const v1::WatchJobRequest& request,
                     grpc::ServerWriter<v1::JobEvent>& writer) {
      v1::JobEvent event;
      event.set_number(request.after_event() + 1);
      event.mutable_progress()->set_step(10);
      (*event.mutable_progress()->mutable_terms())["balance"] = 0.5;
      writer.Write(event);
      event.set_number(request.after_event() + 2);
      event.mutable_state_change()->set_state(v1::Job::STATE_SUCCEEDED);
      event.mutable_state_change()->set_reason("done");
      writer.Write(event);
      return Status::OK;
    };
  }
};

TEST_F(WatchTest, EventsToTheEnd) {
  std::vector<JobEvent> events;
  const auto keep = [&](const JobEvent& event) {
    events.push_back(event);
    return true;
  };
  const Job job = client_->WatchJob("abcdefghijkl", keep, 4);
  EXPECT_EQ(job.state, JobState::kSucceeded);
  EXPECT_TRUE(IsEnd(job.state));
  EXPECT_STREQ(StateName(job.state), "SUCCEEDED");
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].number, 5);
  EXPECT_EQ(events[0].progress->step, 10);
  EXPECT_THAT(events[0].progress->terms, ElementsAre(Pair("balance", 0.5)));
  EXPECT_FALSE(events[0].state_change);
  EXPECT_EQ(events[1].state_change->reason, "done");
}

TEST_F(WatchTest, EnoughIsEnough) {
  int seen = 0;
  const Job job = client_->WatchJob("abcdefghijkl", [&](const JobEvent&) { return ++seen < 1; });
  EXPECT_EQ(seen, 1);
  EXPECT_EQ(job.state, JobState::kRunning);
}

TEST_F(WatchTest, WhatACallbackThrowsComesThrough) {
  const auto fail = [](const JobEvent&) -> bool { throw std::logic_error("mine"); };
  EXPECT_THROW(client_->WatchJob("abcdefghijkl", fail), std::logic_error);
  EXPECT_EQ(client_->GetJob("abcdefghijkl").state, JobState::kRunning);
}

TEST_F(WatchTest, ACancellationEndsAWatchOfAServerThatIsAway) {
  jobs_.get = [](grpc::ServerContext&, v1::Job*) {
    return Status(StatusCode::UNAVAILABLE, "away");
  };
  CallOptions call;
  call.cancellation.emplace();
  ClientOptions options = options_;
  options.on_notice = [&](const std::string&) { call.cancellation->Cancel(); };
  const Client client(options);
  const auto watch = [&] {
    client.WatchJob(
        "abcdefghijkl", [](const JobEvent&) { return true; }, 0, call);
  };
  EXPECT_EQ(ErrorOf(watch).code(), ErrorCode::kCancelled);
}

TEST_F(WatchTest, EveryCallHasTheRequestId) {
  std::vector<std::string> ids;
  jobs_.get = [&](grpc::ServerContext& context, v1::Job*) {
    ids.push_back(IdOf(context));
    return Status::OK;
  };
  jobs_.watch = [&](grpc::ServerContext& context, auto&&...) {
    ids.push_back(IdOf(context));
    return Status(StatusCode::NOT_FOUND, "no job 'abcdefghijkl'");
  };
  CallOptions call;
  call.request_id = "mine";
  const auto watch = [&] {
    client_->WatchJob(
        "abcdefghijkl", [](const JobEvent&) { return true; }, 0, call);
  };
  EXPECT_EQ(ErrorOf(watch).request_id(), "mine");
  EXPECT_THAT(ids, ElementsAre("mine", "mine"));
}

TEST_F(WatchTest, AServerThatHangsIsWaitedForUntilTheDeadline) {
  jobs_.get = [](grpc::ServerContext& context, v1::Job*) { return Hang(context); };
  CallOptions call;
  call.deadline = std::chrono::milliseconds(200);
  const auto watch = [&] {
    client_->WatchJob(
        "abcdefghijkl", [](const JobEvent&) { return true; }, 0, call);
  };
  const Error error = ErrorOf(watch);
  EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(error.message(), HasSubstr("no answer within 200ms"));
}

TEST_F(WatchTest, ACancellationEndsAWatchOfAServerThatHangs) {
  CallOptions call;
  call.cancellation.emplace();
  jobs_.get = [&](grpc::ServerContext& context, v1::Job*) {
    call.cancellation->Cancel();
    return Hang(context);
  };
  const auto watch = [&] {
    client_->WatchJob(
        "abcdefghijkl", [](const JobEvent&) { return true; }, 0, call);
  };
  EXPECT_EQ(ErrorOf(watch).code(), ErrorCode::kCancelled);
}

class DownloadTest : public JobsTest {
 protected:
  DownloadTest() {
    jobs_.download = [this](grpc::ServerContext&, const v1::DownloadArtifactRequest& request,
                            grpc::ServerWriter<v1::ArtifactChunk>& writer) {
      EXPECT_EQ(request.name(), "run/model");
      v1::ArtifactChunk chunk;
      chunk.set_bytes(static_cast<int64_t>(file_.size()));
      chunk.set_sha256(Sha256Hex("the whole file"));
      chunk.set_offset(request.offset());
      chunk.set_data(file_.substr(static_cast<size_t>(request.offset())));
      writer.Write(chunk);
      return Status::OK;
    };
  }

  std::string file_ = "the whole file";
  const std::string path_ = NewFolder() + "/model";
};

TEST_F(DownloadTest, AFileIsThereWhenItIsWhole) {
  std::vector<int64_t> told;
  client_->DownloadArtifact("abcdefghijkl", "run/model", path_, [&](int64_t done, int64_t total) {
    told = {done, total};
  });
  std::ifstream file(path_);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), file_);
  EXPECT_THAT(told, ElementsAre(14, 14));
}

TEST_F(DownloadTest, AnotherFileThanThatOfTheChecksumIsNoFile) {
  file_ = "the whole fail";
  const Error error =
      ErrorOf([&] { client_->DownloadArtifact("abcdefghijkl", "run/model", path_); });
  EXPECT_EQ(error.code(), ErrorCode::kDataLoss);
  EXPECT_FALSE(std::ifstream(path_).is_open());
}

TEST_F(DownloadTest, WhatACallbackThrowsComesThrough) {
  const auto fail = [](int64_t, int64_t) { throw std::logic_error("mine"); };
  EXPECT_THROW(client_->DownloadArtifact("abcdefghijkl", "run/model", path_, fail),
               std::logic_error);
  client_->DownloadArtifact("abcdefghijkl", "run/model", path_);
}

TEST_F(DownloadTest, AServerThatHangsIsWaitedForUntilTheDeadline) {
  std::string id;
  jobs_.download = [&](grpc::ServerContext& context, auto&&...) {
    id = IdOf(context);
    return Hang(context);
  };
  CallOptions call;
  call.deadline = std::chrono::milliseconds(200);
  call.request_id = "mine";
  const Error error = ErrorOf(
      [&] { client_->DownloadArtifact("abcdefghijkl", "run/model", path_, nullptr, call); });
  EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(error.message(), HasSubstr("no answer within 200ms"));
  EXPECT_EQ(id, "mine");
  EXPECT_EQ(error.request_id(), "mine");
}

TEST_F(DownloadTest, ACancellationEndsADownloadFromAServerThatHangs) {
  CallOptions call;
  call.cancellation.emplace();
  jobs_.download = [&](grpc::ServerContext& context, auto&&...) {
    call.cancellation->Cancel();
    return Hang(context);
  };
  const Error error = ErrorOf(
      [&] { client_->DownloadArtifact("abcdefghijkl", "run/model", path_, nullptr, call); });
  EXPECT_EQ(error.code(), ErrorCode::kCancelled);
}

TEST_F(DownloadTest, WhatIsNoFileIsNotReplaced) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  jobs_.download = nullptr;  // nobody is asked
  const Error error =
      ErrorOf([&] { client_->DownloadArtifact("abcdefghijkl", "run/model", path_); });
  EXPECT_EQ(error.code(), ErrorCode::kFailedPrecondition);
  EXPECT_EQ(error.message(), path_ + " is no regular file");
}

}  // namespace
}  // namespace deweather
