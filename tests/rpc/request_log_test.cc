#include "server/rpc/request_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/base/error_reason.h"

namespace deweather {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Key;
using testing::Not;
using testing::Optional;
using testing::Pair;

const absl::Time kNoon = absl::FromUnixSeconds(1'700'000'000);
constexpr char kService[] = "deweather.v1.RestorationService";

// --- the quota ---

TEST(LineQuotaTest, SoManyASecondAndTheRestIsCounted) {
  LineQuota quota(3);
  for (int i = 0; i < 3; ++i) EXPECT_THAT(quota.Take(false, kNoon), Optional(0));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(quota.Take(false, kNoon), std::nullopt);
  EXPECT_EQ(quota.suppressed(), 10);
  const absl::Time later = kNoon + absl::Milliseconds(400);  // room for one
  EXPECT_THAT(quota.Take(false, later), Optional(10));
  EXPECT_EQ(quota.Take(false, later), std::nullopt);
  EXPECT_EQ(quota.suppressed(), 1);
}

TEST(LineQuotaTest, ALongSilenceGathersOneSecond) {
  LineQuota quota(3);
  const absl::Time later = kNoon + absl::Hours(1);
  EXPECT_TRUE(quota.Take(false, kNoon).has_value());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(quota.Take(false, later).has_value());
  EXPECT_FALSE(quota.Take(false, later).has_value());
}

TEST(LineQuotaTest, WhatIsDueHasItsLineWhateverIsLeft) {
  for (const int per_second : {0, 1}) {
    LineQuota quota(per_second);
    for (int i = 0; i < per_second; ++i) EXPECT_TRUE(quota.Take(false, kNoon).has_value());
    EXPECT_EQ(quota.Take(false, kNoon), std::nullopt);
    EXPECT_THAT(quota.Take(true, kNoon), Optional(1));
    EXPECT_THAT(quota.Take(true, kNoon), Optional(0));
  }
}

TEST(LineQuotaTest, AClockThatIsSetBackGivesNothing) {
  LineQuota quota(1);
  EXPECT_TRUE(quota.Take(false, kNoon).has_value());
  EXPECT_FALSE(quota.Take(false, kNoon - absl::Hours(1)).has_value());
  EXPECT_TRUE(quota.Take(false, kNoon - absl::Hours(1) + absl::Seconds(1)).has_value());
}

// --- fields ---

std::map<std::string, std::string> ByName(const LogFields& fields) {
  std::map<std::string, std::string> found;
  for (const LogField& field : fields) {
    std::ostringstream text;
    std::visit([&](const auto& value) { text << value; }, field.value);
    EXPECT_TRUE(found.emplace(field.name, text.str()).second) << field.name << " twice";
  }
  return found;
}

Arrival AnArrival() {
  Arrival arrival;
  arrival.method = "Restore";
  arrival.caller = "camera-7";
  arrival.peer = "ipv4:10.0.0.7:5000";
  arrival.request_id = "r-1";
  arrival.start = kNoon;
  return arrival;
}

TEST(FieldsOfTest, ACallThatRestored) {
  Arrival arrival = AnArrival();
  arrival.trace_parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  RestoreResult result;
  result.model = "small";
  result.version = "0123456789ab";
  result.timings = {.decode = absl::Milliseconds(1),
                    .queue = absl::Milliseconds(2),
                    .infer = absl::Milliseconds(3),
                    .blend = absl::Milliseconds(4),
                    .encode = absl::Microseconds(5500),
                    .total = absl::Milliseconds(17),
                    .tiles = 6,
                    .batches = 2};
  CallFigures figures{.bytes_in = 100, .bytes_out = 200};
  figures.Add(result);
  EXPECT_THAT(
      ByName(
          FieldsOf(kService, arrival, absl::OkStatus(), figures, kNoon + absl::Milliseconds(250))),
      testing::UnorderedElementsAre(
          Pair("request_id", "r-1"), Pair("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
          Pair("parent_id", "00f067aa0ba902b7"),
          Pair("method", "deweather.v1.RestorationService/Restore"), Pair("code", "OK"),
          Pair("caller", "camera-7"), Pair("peer", "ipv4:10.0.0.7:5000"), Pair("seconds", "0.25"),
          Pair("decode_seconds", "0.001"), Pair("queue_seconds", "0.002"),
          Pair("infer_seconds", "0.003"), Pair("blend_seconds", "0.004"),
          Pair("encode_seconds", "0.0055"), Pair("pictures", "1"), Pair("tiles", "6"),
          Pair("batches", "2"), Pair("model", "small"), Pair("model_version", "0123456789ab"),
          Pair("bytes_in", "100"), Pair("bytes_out", "200")));
}

TEST(FieldsOfTest, ACallThatFailedHasAReasonAndNoStages) {
  Arrival arrival = AnArrival();
  arrival.caller = arrival.peer;
  const absl::Status status = WithReason(absl::InvalidArgumentError("no picture"), "INVALID_IMAGE");
  const auto fields = ByName(FieldsOf(kService, arrival, status, {}, kNoon));
  EXPECT_THAT(fields, AllOf(Contains(Pair("code", "INVALID_ARGUMENT")),
                            Contains(Pair("reason", "INVALID_IMAGE"))));
  EXPECT_THAT(fields, AllOf(Not(Contains(Key("peer"))), Not(Contains(Key("trace_id"))),
                            Not(Contains(Key("decode_seconds"))), Not(Contains(Key("frames")))));
}

// --- lines ---

class RequestLogTest : public testing::Test {
 protected:
  RequestLogTest() {
    auto logger = std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_st>(lines_));
    logger->set_pattern("%l %v");
    spdlog::set_default_logger(std::move(logger));
  }
  ~RequestLogTest() override { spdlog::set_default_logger(before_); }

  std::string Told() {
    std::string told = lines_.str();
    lines_.str("");
    return told;
  }

  const std::shared_ptr<spdlog::logger> before_ = spdlog::default_logger();
  std::ostringstream lines_;
};

TEST_F(RequestLogTest, CallersFaultsAreInformationAndOursAreErrors) {
  RequestLog log(10);
  log.Write(kService, AnArrival(), absl::OkStatus(), {}, kNoon);
  EXPECT_EQ(Told(), "info Restore: OK\n");
  log.Write(kService, AnArrival(), absl::InvalidArgumentError("no picture"), {}, kNoon);
  EXPECT_EQ(Told(), "info Restore: INVALID_ARGUMENT: no picture\n");
  log.Write(kService, AnArrival(), absl::InternalError("a bug"), {}, kNoon);
  EXPECT_EQ(Told(), "error Restore: INTERNAL: a bug\n");
  log.Write(kService, AnArrival(), WithReason(absl::DataLossError("torn"), "CHECKSUM"), {}, kNoon);
  EXPECT_EQ(Told(), "info Restore: DATA_LOSS: torn\n");
}

TEST_F(RequestLogTest, OurFaultsHaveTheirLineWhateverTheLoad) {
  RequestLog log(0);
  for (int i = 0; i < 5; ++i) log.Write(kService, AnArrival(), absl::OkStatus(), {}, kNoon);
  EXPECT_EQ(Told(), "");
  log.Write(kService, AnArrival(), absl::InternalError("a bug"), {}, kNoon);
  EXPECT_THAT(Told(), HasSubstr("a bug"));
}

// Who floods the server without a token hides nobody else's lines.
TEST_F(RequestLogTest, WhoMayNotCallHasAQuotaOfHisOwn) {
  RequestLog log(2);
  for (int i = 0; i < 100; ++i) {
    log.Write(kService, AnArrival(), absl::UnauthenticatedError("who?"), {}, kNoon);
    log.Write(kService, AnArrival(), absl::PermissionDeniedError("not you"), {}, kNoon);
  }
  EXPECT_EQ(Told(),
            "info Restore: UNAUTHENTICATED: who?\ninfo Restore: PERMISSION_DENIED: not you\n");
  for (int i = 0; i < 3; ++i) log.Write(kService, AnArrival(), absl::OkStatus(), {}, kNoon);
  EXPECT_EQ(Told(), "info Restore: OK\ninfo Restore: OK\n");
  log.Write(kService, AnArrival(), absl::UnauthenticatedError("who?"), {}, kNoon);
  EXPECT_EQ(Told(), "");
}

TEST_F(RequestLogTest, WhatChangesSomethingHasItsLineWhateverTheLoad) {
  RequestLog log(1);
  for (int i = 0; i < 5; ++i) log.Write(kService, AnArrival(), absl::OkStatus(), {}, kNoon);
  Told();
  for (const char* const method :
       {"SubmitJob", "CancelJob", "ResumeJob", "DeleteJob", "UploadDataset", "PromoteModel",
        "RollbackModel", "DeleteVersion", "ImportModel"}) {
    Arrival arrival = AnArrival();
    arrival.method = method;
    for (int i = 0; i < 2; ++i) {
      log.Write(kService, arrival, absl::OkStatus(), {}, kNoon);
      EXPECT_EQ(Told(), std::string("info ") + method + ": OK\n");
    }
    log.Write(kService, arrival, absl::NotFoundError("no such job"), {}, kNoon);
    EXPECT_EQ(Told(), std::string("info ") + method + ": NOT_FOUND: no such job\n");
  }
  Arrival stranger = AnArrival();
  stranger.method = "SubmitJob";
  log.Write(kService, stranger, absl::UnauthenticatedError("who?"), {}, kNoon);
  Told();
  log.Write(kService, stranger, absl::UnauthenticatedError("who?"), {}, kNoon);
  EXPECT_EQ(Told(), "");  // a stranger changes nothing
}

TEST_F(RequestLogTest, TheLastLineTellsOfCallsWithoutOne) {
  {
    RequestLog log(1);
    for (int i = 0; i < 5; ++i) log.Write(kService, AnArrival(), absl::OkStatus(), {}, kNoon);
    EXPECT_EQ(Told(), "info Restore: OK\n");
  }
  EXPECT_EQ(Told(), "info calls without a line\n");
  {
    RequestLog log(1);
    for (int i = 0; i < 5; ++i) {
      log.Write(kService, AnArrival(), absl::UnauthenticatedError("who?"), {}, kNoon);
    }
    Told();
  }
  EXPECT_EQ(Told(), "info calls without a line\n");
  { RequestLog log(1); }
  EXPECT_EQ(Told(), "");
}

TEST_F(RequestLogTest, WhatACallerMakesUsSayIsNotLong) {
  RequestLog log(1);
  log.Write(kService, AnArrival(), absl::InvalidArgumentError(std::string(1 << 20, 'x')), {},
            kNoon);
  EXPECT_LT(Told().size(), 2000u);
}

}  // namespace
}  // namespace deweather
