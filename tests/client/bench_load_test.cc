#include "client/bench_load.h"

#include <grpcpp/alarm.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace deweather {
namespace {

// Never answers; ends when its call is cancelled or expires.
class SilentCall final : public grpc::ServerUnaryReactor {
  void OnCancel() override { Finish(grpc::Status::CANCELLED); }
  void OnDone() override { delete this; }
};

// Answers after a while.
class LateCall final : public grpc::ServerUnaryReactor {
 public:
  explicit LateCall(absl::Duration delay) {
    alarm_.Set(absl::ToChronoTime(absl::Now() + delay), [this](bool) { Finish(grpc::Status::OK); });
  }

 private:
  void OnDone() override { delete this; }

  grpc::Alarm alarm_;
};

class FakeService final : public v1::RestorationService::CallbackService {
 public:
  using Answer = std::function<grpc::Status(const v1::RestoreRequest&, v1::RestoreResponse*)>;

  // Without an answer it is silent, or late.
  Answer answer;
  absl::Duration delay;
  std::function<void(int)> on_call = [](int) {};  // with the number of calls so far
  std::atomic<int> calls = 0;

  grpc::ServerUnaryReactor* Restore(grpc::CallbackServerContext* context,
                                    const v1::RestoreRequest* request,
                                    v1::RestoreResponse* response) override {
    on_call(++calls);
    if (delay > absl::ZeroDuration()) return new LateCall(delay);
    if (!answer) return new SilentCall;
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(answer(*request, response));
    return reactor;
  }
};

class BenchLoadTest : public testing::Test {
 protected:
  BenchLoadTest() {
    flags_.duration = absl::Milliseconds(100);
    flags_.warmup = absl::ZeroDuration();
    flags_.concurrency = 3;
  }

  BenchResult Run() {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    BenchLoad::Stubs stubs;
    stubs.push_back(v1::RestorationService::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials())));
    BenchLoad load(flags_, mix_, pictures_, std::move(stubs));
    return load.Run(stop_, false);
  }

  FakeService service_;
  std::atomic<bool> stop_ = false;
  BenchFlags flags_;
  std::vector<MixPart> mix_ = {{.name = "a"}, {.name = "b", .weight = 3}};
  std::vector<BenchPicture> pictures_ = {{0, "A"}, {1, "B1"}, {1, "B2"}};
};

grpc::Status Restored(const v1::RestoreRequest& request, v1::RestoreResponse* response) {
  response->set_image(request.image());
  response->set_width_px(20);
  response->set_height_px(10);
  response->mutable_model()->set_name("rain");
  response->mutable_model()->set_version("0123");
  response->mutable_timings()->mutable_total()->set_nanos(1000);
  response->mutable_timings()->set_tiles(6);
  response->mutable_timings()->set_batches(2);
  return grpc::Status::OK;
}

TEST_F(BenchLoadTest, ClosedLoopCountsReplies) {
  flags_.duration = absl::Milliseconds(500);
  service_.answer = Restored;
  const BenchResult result = Run();
  const BenchTally& tally = result.tally;
  EXPECT_EQ(result.window, flags_.duration);
  EXPECT_GT(tally.ok, 10);
  EXPECT_EQ(tally.sent, tally.ok);
  EXPECT_EQ(tally.sent, service_.calls);
  EXPECT_EQ(tally.pixels_in_window, tally.ok_in_window * 200);
  EXPECT_EQ(tally.tiles, tally.ok * 6);
  EXPECT_EQ(tally.models().at("rain 0123"), tally.ok);
  EXPECT_EQ(tally.stages().back().max(), absl::Microseconds(1));
  EXPECT_GT(tally.parts()[1].ok, tally.parts()[0].ok) << "weight 3 and 1";
}

TEST_F(BenchLoadTest, EveryCallerWaitsForItsReply) {
  std::atomic<int> most = 0;
  service_.on_call = [&](int calls) {
    most = calls;
    stop_ = calls >= 3;
  };
  Run();
  EXPECT_EQ(most, 3) << "none was answered, so no caller may send a second";
}

TEST_F(BenchLoadTest, AStopAbandonsWhatIsInFlight) {
  flags_.duration = absl::Hours(1);
  service_.on_call = [&](int calls) { stop_ = calls >= 3; };
  const BenchResult result = Run();
  EXPECT_TRUE(result.interrupted);
  EXPECT_EQ(result.tally.abandoned, 3);
  EXPECT_EQ(result.tally.error_count, 0);
  EXPECT_LT(result.window, absl::Minutes(1));
}

TEST_F(BenchLoadTest, RepliesThatDifferAreWrong) {
  // Calls, not time, end the load: with three callers, the 20th call comes after 17 replies.
  flags_.duration = absl::Hours(1);
  service_.on_call = [&](int calls) { stop_ = calls >= 20; };
  const auto wrong = [&](bool verify) {
    std::atomic<int> answered = 0;
    service_.calls = 0;
    service_.answer = [&](const v1::RestoreRequest& request, v1::RestoreResponse* response) {
      Restored(request, response);
      if (++answered == 5) response->set_image("another");
      return grpc::Status::OK;
    };
    flags_.verify = verify;
    stop_ = false;
    return Run().tally.wrong;
  };
  pictures_ = {{0, "A"}};
  EXPECT_EQ(wrong(true), 1);
  EXPECT_EQ(wrong(false), 0);
}

TEST_F(BenchLoadTest, ErrorsByCode) {
  service_.answer = [](const v1::RestoreRequest&, v1::RestoreResponse*) {
    return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "full");
  };
  const BenchTally tally = Run().tally;
  EXPECT_EQ(tally.ok, 0);
  EXPECT_GT(tally.error_count, 0);
  EXPECT_EQ(tally.errors().at(absl::StatusCode::kResourceExhausted).latency.count(),
            tally.error_count);
}

grpc::Status Refused(absl::Duration delay) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(delay));
  retry.mutable_retry_delay()->set_nanos(
      static_cast<int>(absl::ToInt64Nanoseconds(delay % absl::Seconds(1))));
  google::rpc::Status message;
  message.add_details()->PackFrom(retry);
  return {grpc::StatusCode::RESOURCE_EXHAUSTED, "full", message.SerializeAsString()};
}

TEST_F(BenchLoadTest, ARefusedCallerWaitsAsLongAsItIsAsked) {
  service_.answer = [](auto&&...) { return Refused(absl::Milliseconds(20)); };
  const BenchTally tally = Run().tally;
  EXPECT_GT(tally.error_count, 3);
  EXPECT_LE(tally.error_count, 3 * 5) << "each caller at 0, 20, 40, 60 and 80 ms";
}

TEST_F(BenchLoadTest, ACallerThatIsToWaitForLongerThanTheLoadIsDone) {
  service_.answer = [](auto&&...) { return Refused(absl::Hours(1)); };
  EXPECT_EQ(Run().tally.error_count, 3);
}

TEST_F(BenchLoadTest, AStopEndsTheWaitOfRefusedCallers) {
  flags_.duration = absl::Hours(2);
  service_.answer = [](auto&&...) { return Refused(absl::Hours(1)); };
  service_.on_call = [&](int calls) { stop_ = calls >= 3; };
  const BenchResult result = Run();
  EXPECT_LT(result.window, absl::Minutes(1));
  EXPECT_TRUE(result.interrupted);
  EXPECT_EQ(service_.calls, 3);
}

TEST_F(BenchLoadTest, RepliesAfterTheWindowAreNoThroughput) {
  flags_.rate = 500;
  service_.delay = flags_.duration * 2;
  const BenchResult result = Run();
  EXPECT_GT(result.tally.ok, 10);
  EXPECT_EQ(result.tally.ok, result.tally.sent);
  EXPECT_EQ(result.tally.ok_in_window, 0);
  EXPECT_FALSE(result.interrupted);
}

TEST_F(BenchLoadTest, MaxOutstandingIsOfTheOpenLoopOnly) {
  flags_.concurrency = 1;
  flags_.max_outstanding = 1;
  service_.answer = Restored;
  const BenchTally tally = Run().tally;
  EXPECT_GT(tally.ok, 3);
  EXPECT_EQ(tally.not_sent, 0);
}

TEST_F(BenchLoadTest, OpenLoopSendsWhatIsDueThoughNothingIsAnswered) {
  flags_.rate = 500;
  flags_.max_outstanding = 7;
  flags_.server.timeout = absl::Milliseconds(400);
  const BenchTally tally = Run().tally;
  EXPECT_EQ(service_.calls, 7);
  EXPECT_EQ(tally.sent, 7);
  EXPECT_EQ(tally.errors().at(absl::StatusCode::kDeadlineExceeded).latency.count(), 7);
  EXPECT_GT(tally.not_sent, 15) << "50 are due, 7 may wait";
  EXPECT_LT(tally.not_sent, 80);
}

TEST_F(BenchLoadTest, RequestsCarryModelTaskAndPriority) {
  std::atomic<int> good = 0;
  service_.answer = [&](const v1::RestoreRequest& request, v1::RestoreResponse* response) {
    const v1::RestoreOptions& options = request.options();
    good += options.model() == "haze" && options.task() == "fog" &&
            options.priority() == v1::RestoreOptions::PRIORITY_BACKGROUND;
    return Restored(request, response);
  };
  flags_.model = "haze";
  flags_.task = "fog";
  flags_.priority = "background";
  const BenchTally tally = Run().tally;
  EXPECT_EQ(good, tally.ok);
}

}  // namespace
}  // namespace deweather
