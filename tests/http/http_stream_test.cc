// Calls that answer with a stream, over HTTP: envelopes in chunks, until the job, the caller or the server ends.

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <string>

#include "server/http/connect.h"
#include "server/http/http_server.h"
#include "tests/http/http_client.h"
#include "tests/rpc/training_fixture.h"

namespace deweather {
namespace {

using nlohmann::json;

class HttpStreamTest : public TrainingTest {
 protected:
  void ServeHttp(const LimitOptions& limits = {}) {
    Serve({}, limits);
    auto http = HttpServer::Start("127.0.0.1:0", {.server = *server_.server,
                                                  .calls = calls_,
                                                  .limits = limits,
                                                  .metrics = [] { return ""; }});
    ASSERT_TRUE(http.ok()) << http.status();
    http_ = *std::move(http);
  }
  void TearDown() override {
    if (http_ != nullptr) http_->Stop();
    TrainingTest::TearDown();
  }

  static void Watch(HttpClient& client, const std::string& job,
                    const std::string& version = "1.1") {
    const std::string body = Envelope(EnvelopeFlag::kMessage, json{{"id", job}}.dump());
    client.Send(absl::StrCat("POST /deweather.v1.TrainingService/WatchJob HTTP/", version,
                             "\r\nHost: localhost\r\nContent-Type: application/connect+json\r\n"
                             "Content-Length: ",
                             body.size(), "\r\n\r\n", body));
  }

  // The envelope's content; `flag` is expected.
  static json Opened(const std::string& envelope, EnvelopeFlag flag) {
    EXPECT_GE(envelope.size(), 5U);
    if (envelope.size() < 5) return {};
    EXPECT_EQ(envelope[0], static_cast<char>(flag)) << envelope;
    return json::parse(envelope.substr(5), nullptr, false);
  }

  std::unique_ptr<HttpServer> http_;
};

// Reads the head alone; chunks follow.
ReceivedReply Head(HttpClient& client) { return client.Receive(/*head_only=*/true); }

TEST_F(HttpStreamTest, EventsComeAsTheyHappenAndThenTheEnd) {
  ServeHttp();
  const std::string id = Submitted();
  HttpClient client(http_->address());
  Watch(client, id);
  const ReceivedReply head = Head(client);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-type"), "application/connect+json");
  const json queued = Opened(client.Chunk(), EnvelopeFlag::kMessage);
  EXPECT_EQ(queued["number"], "1") << queued;
  Finish(id);
  json last;
  std::string chunk = client.Chunk();
  for (; chunk[0] == 0; chunk = client.Chunk()) last = Opened(chunk, EnvelopeFlag::kMessage);
  EXPECT_NE(last.dump().find("SUCCEEDED"), std::string::npos) << last;
  EXPECT_EQ(Opened(chunk, EnvelopeFlag::kEnd), json::object());
  EXPECT_EQ(client.Chunk(), "");
  EXPECT_EQ(client.Call("GET", "/healthz").status, 200);  // the connection goes on
}

TEST_F(HttpStreamTest, AnErrorIsTheEnd) {
  ServeHttp();
  HttpClient client(http_->address());
  Watch(client, "nothing");
  EXPECT_EQ(Head(client).status, 200);
  const json end = Opened(client.Chunk(), EnvelopeFlag::kEnd);
  EXPECT_EQ(end["error"]["code"], "not_found");
  EXPECT_EQ(client.Chunk(), "");
}

TEST_F(HttpStreamTest, WhatCannotBeReadIsAnswered) {
  ServeHttp();
  HttpClient client(http_->address());
  client.Request("POST", "/deweather.v1.TrainingService/WatchJob", "{}",
                 "Content-Type: application/connect+json\r\n");
  const ReceivedReply reply = client.Receive();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(Opened(reply.body, EnvelopeFlag::kEnd)["error"]["code"], "invalid_argument");
}

TEST_F(HttpStreamTest, Http10ReadsToTheEnd) {
  ServeHttp();
  const std::string id = Submitted();
  Finish(id);
  HttpClient client(http_->address());
  Watch(client, id, "1.0");
  const ReceivedReply head = Head(client);
  EXPECT_EQ(head.headers.at("connection"), "close");
  EXPECT_EQ(head.headers.count("transfer-encoding"), 0U);
}

TEST_F(HttpStreamTest, ACallerWhoLeavesEndsTheCall) {
  ServeHttp();
  const std::string id = Submitted();
  HttpClient client(http_->address());
  Watch(client, id);
  Head(client);
  client.Chunk();
  EXPECT_GE(calls_.count(), 1);
  client.Leave();
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
}

TEST_F(HttpStreamTest, ADrainIsTold) {
  ServeHttp();
  const std::string id = Submitted();
  HttpClient client(http_->address());
  Watch(client, id);
  Head(client);
  client.Chunk();
  http_->BeginDrain();
  service_->BeginDrain();
  const json end = Opened(client.Chunk(), EnvelopeFlag::kEnd);
  EXPECT_EQ(end["error"]["code"], "unavailable");
  EXPECT_EQ(client.Chunk(), "");
  EXPECT_TRUE(client.Closed());
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
}

// However much there is to tell, who does not read it holds a page of it.
TEST_F(HttpStreamTest, AReaderWhoStopsIsCutOff) {
  ServeHttp({.max_stream_idle = absl::Milliseconds(300)});
  const std::string id = Submitted();
  Apply(id, JobAction::kStart);
  for (int i = 0; i < 40; ++i) Warn(id, 100, 4000);
  HttpClient client(http_->address());
  Watch(client, id);
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(60)));
}

}  // namespace
}  // namespace deweather
