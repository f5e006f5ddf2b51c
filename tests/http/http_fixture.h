// A server in this process that is called over HTTP, on a free loopback port.

#ifndef DEWEATHER_TESTS_HTTP_HTTP_FIXTURE_H_
#define DEWEATHER_TESTS_HTTP_HTTP_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "server/http/http_server.h"
#include "server/rpc/trace_context.h"
#include "tests/http/http_client.h"
#include "tests/rpc/rpc_fixture.h"

namespace deweather {

constexpr char kRestorePath[] = "/v1/restore";

class HttpTest : public RpcTest {
 protected:
  // With the identity model, or with `fake`.
  void ServeHttp(const LimitOptions& limits = {}, const FakeModel* fake = nullptr,
                 const std::shared_ptr<const LiveCertificates>& certificates = nullptr) {
    Serve(limits, fake, {.workers = 2, .max_batch = 4});
    auto http = HttpServer::Start("127.0.0.1:0", {.server = *server_.server,
                                                  .calls = calls_,
                                                  .limits = limits,
                                                  .access = entrance_.access,
                                                  .certificates = certificates,
                                                  .metrics = [] { return "metric 1\n"; }});
    ASSERT_TRUE(http.ok()) << http.status();
    http_ = *std::move(http);
  }
  void TearDown() override {
    if (http_ != nullptr) http_->Stop();
    RpcTest::TearDown();
  }

  HttpClient Connect() const { return HttpClient(http_->address()); }

  // One request on a connection of its own.
  ReceivedReply Call(const std::string& method, const std::string& target,
                     const std::string& body = "", const std::string& headers = "") const {
    HttpClient client(http_->address());
    return client.Call(method, target, body, headers);
  }

  // What every test of an error ends with.
  void ExpectStillServesHttp() const {
    const Image image = NoiseImage(40, 30);
    const ReceivedReply reply = Call("POST", kRestorePath, Png(image));
    ASSERT_EQ(reply.status, 200) << reply.body;
    EXPECT_EQ(DecodeImage(reply.body, {}).value().samples, image.samples);
  }

  void ExpectNothingLeftOfHttp() {
    EXPECT_TRUE(HappensSoon([this] { return http_->held_bytes() == 0; }));
    ExpectNothingLeft();
  }

  static std::string Said(const ReceivedReply& reply) {
    const auto error = nlohmann::json::parse(reply.body, nullptr, false);
    return error.is_object() ? error.value("message", "") : "no JSON: " + reply.body;
  }
  static std::string Reason(const ReceivedReply& reply) {
    const auto error = nlohmann::json::parse(reply.body, nullptr, false);
    if (!error.is_object() || !error.contains("details")) return "no details: " + reply.body;
    return error["details"][0]["debug"].value("reason", "");
  }

  std::unique_ptr<HttpServer> http_;
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_HTTP_HTTP_FIXTURE_H_
