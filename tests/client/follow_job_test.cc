#include "client/follow_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "client/job_text.h"
#include "client/jobs_watch.h"
#include "tests/client/fake_training.h"

namespace deweather {
namespace {

using grpc::Status;
using grpc::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;

const Status kGone(StatusCode::UNAVAILABLE, "Socket closed");

v1::JobEvent Event(int64_t number, v1::Job::State state = v1::Job::STATE_UNSPECIFIED) {
  v1::JobEvent event;
  event.set_number(number);
  if (state != v1::Job::STATE_UNSPECIFIED)
    event.mutable_state_change()->set_state(state);
  else
    event.mutable_checkpoint()->set_step(number);
  return event;
}

class FollowJobTest : public testing::Test {
 protected:
  FollowJobTest() {
    service_.get = [](int, v1::Job* job) {
      job->set_state(v1::Job::STATE_RUNNING);
      return Status::OK;
    };
    request_.set_id("job");
  }

  Status Watch() {
    testing::internal::CaptureStderr();
    const auto stub =
        v1::TrainingService::NewStub(OpenChannel(server_.flags(), {.repeats_reads = false}));
    const Status status = WatchJob(
        *stub, following_, &request_,
        [&](const v1::JobEvent& event) {
          seen_.push_back(event.number());
          on_event_();
          return on_event_status_;
        },
        &job_);
    stderr_ = testing::internal::GetCapturedStderr();
    return status;
  }

  Status Follow() {
    testing::internal::CaptureStderr();
    const auto stub =
        v1::TrainingService::NewStub(OpenChannel(server_.flags(), {.repeats_reads = false}));
    v1::StreamLogsRequest request;
    request.set_follow(true);
    const Status status = FollowLog(*stub, following_, &request, [&](const v1::LogChunk& chunk) {
      log_ += chunk.data();
      return on_chunk_;
    });
    stderr_ = testing::internal::GetCapturedStderr();
    return status;
  }

  FakeTraining service_;
  TestServer server_{&service_};
  std::atomic<bool> stop_ = false;
  Following following_ = {{.patience = absl::Minutes(1), .first_pause = absl::Milliseconds(1)},
                          stop_};
  v1::WatchJobRequest request_;
  v1::Job job_;
  std::vector<int64_t> seen_;
  std::function<void()> on_event_ = [] {};
  Status on_event_status_;
  std::string log_;
  Status on_chunk_;
  std::string stderr_;
};

TEST_F(FollowJobTest, EventsInOrderToTheEnd) {
  service_.watch = [](int, const v1::WatchJobRequest& request, auto* writer) {
    for (int64_t i = request.after_event() + 1; i < 1000; ++i) writer->Write(Event(i));
    writer->Write(Event(1000, v1::Job::STATE_SUCCEEDED));
    return Status::OK;
  };
  request_.set_after_event(10);
  ASSERT_TRUE(Watch().ok());
  std::vector<int64_t> expected(990);
  std::iota(expected.begin(), expected.end(), 11);
  EXPECT_EQ(seen_, expected);
  EXPECT_EQ(job_.state(), v1::Job::STATE_SUCCEEDED);
  EXPECT_EQ(stderr_, "");
}

TEST(IsEndTest, ThreeStates) {
  EXPECT_TRUE(IsEnd(v1::Job::STATE_SUCCEEDED));
  EXPECT_TRUE(IsEnd(v1::Job::STATE_FAILED));
  EXPECT_TRUE(IsEnd(v1::Job::STATE_CANCELLED));
  for (const auto state : {v1::Job::STATE_UNSPECIFIED, v1::Job::STATE_QUEUED,
                           v1::Job::STATE_RUNNING, v1::Job::STATE_CANCELLING}) {
    EXPECT_FALSE(IsEnd(state)) << StateText(state);
  }
}

TEST_F(FollowJobTest, AnErrorOfOursEndsTheWatch) {
  service_.watch = [](int, const v1::WatchJobRequest&, auto* writer) {
    for (int64_t i = 1; writer->Write(Event(i));) ++i;
    return Status::OK;
  };
  on_event_status_ = {StatusCode::ABORTED, "enough"};
  const Status status = Watch();
  EXPECT_EQ(status.error_code(), StatusCode::ABORTED);
  EXPECT_EQ(status.error_message(), "enough");
  EXPECT_EQ(seen_, std::vector<int64_t>{1});
}

TEST_F(FollowJobTest, ResumesAfterTheLastEventThatItHas) {
  service_.watch = [](int call, const v1::WatchJobRequest& request, auto* writer) {
    EXPECT_EQ(request.after_event(), 3 * (call - 1));
    for (int i = 1; i <= 3; ++i) writer->Write(Event(request.after_event() + i));
    if (call == 2) return Status(StatusCode::CANCELLED, "");  // as a server that goes down
    if (call < 4) return kGone;
    writer->Write(Event(13, v1::Job::STATE_FAILED));
    return Status::OK;
  };
  ASSERT_TRUE(Watch().ok());
  EXPECT_THAT(seen_, ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13));
  EXPECT_EQ(job_.state(), v1::Job::STATE_FAILED);
}

TEST_F(FollowJobTest, AServerThatRestartsIsAskedAgain) {
  service_.get = [](int call, v1::Job* job) {
    job->set_state(v1::Job::STATE_SUCCEEDED);
    return call < 4 ? kGone : Status::OK;
  };
  service_.watch = [](int, const v1::WatchJobRequest&, auto*) { return Status::OK; };
  ASSERT_TRUE(Watch().ok());
  EXPECT_EQ(service_.calls, 1);
  EXPECT_EQ(stderr_, "UNAVAILABLE: Socket closed; trying again for up to 1m\nconnected again\n");
  EXPECT_EQ(job_.state(), v1::Job::STATE_SUCCEEDED) << "known without an event";
}

TEST_F(FollowJobTest, EventsThatComeTwiceAreToldOnce) {
  service_.watch = [](int, const v1::WatchJobRequest&, auto* writer) {
    for (const int64_t number : {1, 2, 2, 1}) writer->Write(Event(number));
    writer->Write(Event(3, v1::Job::STATE_CANCELLED));
    return Status::OK;
  };
  ASSERT_TRUE(Watch().ok());
  EXPECT_THAT(seen_, ElementsAre(1, 2, 3));
}

TEST_F(FollowJobTest, AnEndBeforeTheJobsEndIsABreak) {
  service_.watch = [](int call, const v1::WatchJobRequest&, auto* writer) {
    writer->Write(Event(call, call < 3 ? v1::Job::STATE_RUNNING : v1::Job::STATE_SUCCEEDED));
    return Status::OK;
  };
  ASSERT_TRUE(Watch().ok());
  EXPECT_THAT(seen_, ElementsAre(1, 2, 3));
  EXPECT_THAT(stderr_, HasSubstr("before the job's end"));
}

TEST_F(FollowJobTest, PatienceAndRefusalsEndIt) {
  following_.retry.patience = absl::Milliseconds(5);
  service_.get = [](int, v1::Job*) { return kGone; };
  EXPECT_EQ(Watch().error_code(), StatusCode::UNAVAILABLE);
  following_.retry.patience = absl::Minutes(1);  // of an attempt too
  service_.get = [](int, v1::Job*) { return Status(StatusCode::NOT_FOUND, "no job"); };
  EXPECT_EQ(Watch().error_code(), StatusCode::NOT_FOUND);
  EXPECT_EQ(service_.calls, 0);
}

TEST_F(FollowJobTest, StopEndsAStream) {
  service_.watch = [&](int, const v1::WatchJobRequest&, auto* writer) {
    while (writer->Write(Event(1))) {  // until the call is cancelled
    }
    return Status::OK;
  };
  on_event_ = [&] { stop_ = true; };
  EXPECT_EQ(Watch().error_code(), StatusCode::CANCELLED);
  EXPECT_EQ(service_.calls, 1);
}

TEST_F(FollowJobTest, LogsResumeByOffset) {
  const std::string log = "step 1\nstep 2\nstep 3\n";
  service_.logs = [&](int call, const v1::StreamLogsRequest& request, auto* writer) {
    v1::LogChunk chunk;
    chunk.set_offset(request.offset());
    chunk.set_data(
        log.substr(static_cast<size_t>(request.offset()), call < 3 ? 5 : std::string::npos));
    writer->Write(chunk);
    return call < 3 ? kGone : Status::OK;
  };
  ASSERT_TRUE(Follow().ok());
  EXPECT_EQ(log_, log);
  EXPECT_EQ(service_.calls, 3);
}

TEST_F(FollowJobTest, AReaderThatTakesNoMoreEndsTheLog) {
  service_.logs = [](int, const v1::StreamLogsRequest&, auto* writer) {
    v1::LogChunk chunk;
    chunk.set_data("x");
    while (writer->Write(chunk)) {
    }
    return Status::OK;
  };
  on_chunk_ = Status(StatusCode::ABORTED, "stdout is full");
  EXPECT_EQ(Follow().error_message(), "stdout is full");
  EXPECT_EQ(log_, "x");
}

class RunFollowJobTest : public FollowJobTest {
 protected:
  int Run(bool json) {
    WatchFlags flags;
    flags.server.server = server_.flags().server;
    flags.id = "job";
    flags.json = json;
    testing::internal::CaptureStdout();
    const int status = RunJobsWatch(flags);
    stdout_ = testing::internal::GetCapturedStdout();
    return status;
  }

  std::string stdout_;
};

TEST_F(RunFollowJobTest, ExitStatusIsTheJobs) {
  for (const auto& [state, status] :
       {std::pair(v1::Job::STATE_SUCCEEDED, 0), std::pair(v1::Job::STATE_FAILED, 1),
        std::pair(v1::Job::STATE_CANCELLED, 1)}) {
    service_.watch = [state = state](int, const v1::WatchJobRequest&, auto* writer) {
      writer->Write(Event(1, state));
      return Status::OK;
    };
    EXPECT_EQ(Run(false), status);
  }
}

TEST_F(RunFollowJobTest, ALineAnEventForPeopleAndForPrograms) {
  service_.watch = [](int, const v1::WatchJobRequest&, auto* writer) {
    writer->Write(Event(1));
    writer->Write(Event(2, v1::Job::STATE_SUCCEEDED));
    return Status::OK;
  };
  EXPECT_EQ(Run(false), 0);
  EXPECT_EQ(stdout_,
            "   1  1970-01-01T00:00:00+00:00  checkpoint at step 1\n"
            "   2  1970-01-01T00:00:00+00:00  SUCCEEDED\n");
  EXPECT_EQ(Run(true), 0);
  EXPECT_EQ(
      stdout_,
      R"({"checkpoint":{"step":1},"number":1,"time":"1970-01-01T00:00:00+00:00"})"
      "\n"
      R"({"attempt":0,"number":2,"reason":"","state":"SUCCEEDED","time":"1970-01-01T00:00:00+00:00"})"
      "\n");
}

TEST_F(RunFollowJobTest, LogsAreBytesAndWhatIsGoneIsSaid) {
  service_.logs = [](int, const v1::StreamLogsRequest& request, auto* writer) {
    EXPECT_FALSE(request.follow());
    v1::LogChunk chunk;
    chunk.set_offset(100);
    chunk.set_data(std::string("step 1\n\0\xff", 9));
    writer->Write(chunk);
    return Status::OK;
  };
  WatchFlags flags;
  flags.server.server = server_.flags().server;
  flags.id = "job";
  flags.offset = 40;
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  EXPECT_EQ(RunJobsLogs(flags), 0);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), std::string("step 1\n\0\xff", 9));
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "60 bytes of the log are gone\n");
}

}  // namespace
}  // namespace deweather
