// Requests as callers send them, good ones, bad ones and slow ones, through the whole server.

#include "server/http/http_server.h"

#include <gmock/gmock.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "deweather/v1/model.pb.h"
#include "model/base/sha256.h"
#include "server/access/tokens.h"
#include "tests/http/http_fixture.h"

namespace deweather {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kConnectRestore[] = "/deweather.v1.RestorationService/Restore";
constexpr char kJson[] = "Content-Type: application/json\r\n";

class HttpServerTest : public HttpTest {};

// --- what is served ---

TEST_F(HttpServerTest, APictureComesBackAsGrpcGivesIt) {
  ServeHttp();
  const std::string picture = Png(NoiseImage(70, 50));
  v1::RestoreResponse response;
  ASSERT_TRUE(Restore(picture, {}, &response).ok());
  const ReceivedReply reply = Call("POST", kRestorePath, picture, "X-Request-Id: mine\r\n");
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.body, response.image());
  EXPECT_EQ(reply.headers.at("content-type"), "image/png");
  EXPECT_EQ(reply.headers.at("deweather-model"), "identity@builtin");
  EXPECT_THAT(reply.headers.at("server-timing"), StartsWith("decode;dur="));
  EXPECT_EQ(reply.headers.at("x-request-id"), "mine");
  EXPECT_EQ(reply.headers.at("x-content-type-options"), "nosniff");
  EXPECT_EQ(reply.headers.count("access-control-allow-origin"), 0U);
}

TEST_F(HttpServerTest, OptionsAreThoseOfRestore) {
  ServeHttp();
  const ReceivedReply reply =
      Call("POST", "/v1/restore?format=jpeg&quality=50", Png(NoiseImage(16, 16)));
  EXPECT_EQ(reply.headers.at("content-type"), "image/jpeg");
  const ReceivedReply range = Call("POST", "/v1/restore?quality=101", Png(NoiseImage(16, 16)));
  EXPECT_EQ(range.status, 400);
  EXPECT_THAT(Said(range), HasSubstr("quality is 101"));
  const ReceivedReply model = Call("POST", "/v1/restore?model=nobody", Png(NoiseImage(16, 16)));
  EXPECT_EQ(model.status, 404);
  EXPECT_EQ(Reason(model), "UNKNOWN_MODEL");
  EXPECT_EQ(Call("POST", "/v1/restore?quality=x", "").status, 400);
  EXPECT_EQ(Reason(Call("POST", kRestorePath, "no picture")), "INVALID_IMAGE");
  ExpectNothingLeftOfHttp();
}

TEST_F(HttpServerTest, ACallIsJsonOverConnect) {
  FakeModel fake{.layers = 1, .experts = 4, .kept = 2};
  ServeHttp({}, &fake);
  const Image image = NoiseImage(32, 32);
  const json body = {{"image", absl::Base64Escape(Png(image))},
                     {"options", {{"model", "fake"}, {"expertMap", true}}}};
  const ReceivedReply reply = Call("POST", kConnectRestore, body.dump(), kJson);
  ASSERT_EQ(reply.status, 200) << reply.body;
  const json response = json::parse(reply.body);
  std::string picture;
  ASSERT_TRUE(absl::Base64Unescape(response["image"].get<std::string>(), &picture));
  EXPECT_EQ(DecodeImage(picture, {}).value().samples, image.samples);
  EXPECT_EQ(response["model"]["name"], "fake");
  EXPECT_EQ(response["routing"]["kept"], 2);
  EXPECT_TRUE(response.contains("expertMap"));
}

TEST_F(HttpServerTest, HealthReadinessAndMetrics) {
  ServeHttp();
  EXPECT_EQ(Call("GET", "/healthz").status, 200);
  EXPECT_EQ(Call("GET", "/readyz").body, "SERVING\n");
  EXPECT_EQ(Call("GET", "/metrics").body, "metric 1\n");
  HttpClient client(http_->address());
  const ReceivedReply head = client.Call("HEAD", "/metrics");
  EXPECT_EQ(head.headers.at("content-length"), "9");
  EXPECT_EQ(client.Call("GET", "/healthz").status, 200);  // nothing came behind the head
  StopServing(server_);
  EXPECT_EQ(Call("GET", "/readyz").status, 503);
  EXPECT_EQ(Call("GET", "/healthz").status, 200);
}

TEST_F(HttpServerTest, PathsAndMethodsThatThereAreNot) {
  ServeHttp();
  const ReceivedReply nothing = Call("GET", "/v3/nothing?x=1");
  EXPECT_EQ(nothing.status, 404);
  EXPECT_THAT(Said(nothing), HasSubstr("'/v3/nothing'"));
  for (const auto& [method, path, allowed] : {std::tuple{"GET", kRestorePath, "POST"},
                                              {"DELETE", "/metrics", "GET, HEAD"},
                                              {"PUT", kConnectRestore, "POST"},
                                              {"OPTIONS", kRestorePath, "POST"},
                                              {"POST", "/healthz", "GET, HEAD"},
                                              {"POST", "/readyz", "GET, HEAD"}}) {
    const ReceivedReply reply = Call(method, path);
    EXPECT_EQ(reply.status, 405) << path;
    EXPECT_EQ(reply.headers.at("allow"), allowed);
    EXPECT_EQ(reply.headers.count("access-control-allow-methods"), 0U);
  }
}

// --- connections ---

TEST_F(HttpServerTest, AConnectionServesOneRequestAfterAnother) {
  ServeHttp();
  HttpClient client(http_->address());
  for (int i = 0; i < 20; ++i) {
    const ReceivedReply reply = client.Call("POST", kRestorePath, Png(NoiseImage(8 + i, 8)));
    ASSERT_EQ(reply.status, 200);
    EXPECT_EQ(DecodeImage(reply.body, {}).value().width, 8 + i);
    EXPECT_EQ(reply.headers.at("connection"), "keep-alive");
  }
  EXPECT_EQ(client.Call("GET", "/healthz", "", "Connection: close\r\n").status, 200);
  EXPECT_TRUE(client.Closed());
}

TEST_F(HttpServerTest, RequestsMayBeSentBeforeTheirReplies) {
  ServeHttp();
  HttpClient client(http_->address());
  for (int i = 0; i < 10; ++i) {
    client.Request("POST", kRestorePath, Png(NoiseImage(8 + i, 8)));
    client.Request("GET", "/nothing");
  }
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(DecodeImage(client.Receive().body, {}).value().width, 8 + i);
    EXPECT_EQ(client.Receive().status, 404);
  }
}

TEST_F(HttpServerTest, BodiesMayComeInChunks) {
  ServeHttp();
  HttpClient client(http_->address());
  const std::string picture = Png(NoiseImage(64, 64));
  client.Send("POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (size_t at = 0; at < picture.size(); at += 1000) {
    const std::string piece = picture.substr(at, 1000);
    client.Send(absl::StrFormat("%x;extension=1\r\n%s\r\n", piece.size(), piece));
  }
  client.Send("0\r\nTrailer: 1\r\n\r\n");
  EXPECT_EQ(client.Receive().status, 200);
  EXPECT_EQ(client.Call("GET", "/healthz").status, 200);
}

TEST_F(HttpServerTest, WhoWaitsToBeAskedIsAskedAfterTheChecks) {
  ServeHttp({.max_receive_bytes = 100'000});
  HttpClient client(http_->address());
  const std::string picture = Png(NoiseImage(16, 16));
  const std::string head =
      "POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n";
  client.Send(absl::StrCat(head, "Content-Length: ", picture.size(), "\r\n\r\n"));
  EXPECT_EQ(client.Receive().status, 100);
  client.Send(picture);
  EXPECT_EQ(client.Receive().status, 200);
  client.Send(absl::StrCat(head, "Content-Length: 100001\r\n\r\n"));
  EXPECT_EQ(client.Receive().status, 413);
  EXPECT_TRUE(client.Closed());
}

TEST_F(HttpServerTest, Http10IsServedAndClosed) {
  ServeHttp();
  HttpClient client(http_->address());
  client.Send("GET /healthz HTTP/1.0\r\n\r\n");  // as a balancer's probe
  EXPECT_EQ(client.Receive().status, 200);
  EXPECT_TRUE(client.Closed());
}

TEST_F(HttpServerTest, OneConnectionTooManyIsClosed) {
  ServeHttp({.max_connections = 2});
  HttpClient one(http_->address());
  HttpClient two(http_->address());
  EXPECT_EQ(one.Call("GET", "/healthz").status, 200);
  EXPECT_EQ(two.Call("GET", "/healthz").status, 200);
  HttpClient three(http_->address());
  EXPECT_TRUE(three.Closed());
  EXPECT_EQ(http_->listener().refused(), 1);
  two.Leave();
  EXPECT_TRUE(HappensSoon([this] { return Call("GET", "/healthz").status == 200; }));
}

// --- limits ---

TEST_F(HttpServerTest, ABodyOverTheLimitIsRefusedByItsLengthAlone) {
  ServeHttp({.max_receive_bytes = 5000});
  HttpClient client(http_->address());
  client.Send("POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5001\r\n\r\n");
  const ReceivedReply reply = client.Receive();
  EXPECT_EQ(reply.status, 413);
  EXPECT_EQ(Said(reply), "the body has 5001 bytes; of this request it may have 5000");
  EXPECT_TRUE(client.Closed());
  ExpectStillServes();
}

TEST_F(HttpServerTest, AndChunksWhenTheyAreTooMany) {
  ServeHttp({.max_receive_bytes = 5000});
  HttpClient client(http_->address());
  client.Send("POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string chunk = "9c4\r\n" + std::string(2500, 'x') + "\r\n";
  client.Send(chunk + chunk + "1\r\nx\r\n");
  const ReceivedReply reply = client.Receive();
  EXPECT_EQ(reply.status, 413);
  EXPECT_THAT(Said(reply), HasSubstr("5000"));
  ExpectNothingLeftOfHttp();
}

TEST_F(HttpServerTest, AMessageWithoutPicturesHasALimitOfItsOwn) {
  ServeHttp();
  ASSERT_NE(v1::GetModelRequest::descriptor(), nullptr);  // it is linked
  const ReceivedReply reply =
      Call("POST", "/deweather.v1.ModelService/GetModel", std::string((1 << 20) + 1, ' '), kJson);
  EXPECT_EQ(reply.status, 413);
  EXPECT_THAT(Said(reply), HasSubstr("1048577 bytes; of this request it may have 1048576"));
}

TEST_F(HttpServerTest, HeadersHaveALimit) {
  ServeHttp({.max_header_bytes = 1024});
  EXPECT_EQ(Call("GET", "/healthz", "", "X: " + std::string(500, 'x') + "\r\n").status, 200);
  const ReceivedReply reply = Call("GET", "/healthz", "", "X: " + std::string(2000, 'x') + "\r\n");
  EXPECT_EQ(reply.status, 431);
  EXPECT_THAT(Said(reply), HasSubstr("limits.max_header_bytes, 1024 bytes"));
}

TEST_F(HttpServerTest, BodiesOfAllTogetherHaveALimit) {
  ServeHttp({.max_transport_bytes = 3000});
  HttpClient slow(http_->address());
  slow.Send("POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2500\r\n\r\n" +
            std::string(2000, 'x'));
  EXPECT_TRUE(HappensSoon([this] { return http_->held_bytes() == 2000; }));
  const ReceivedReply reply = Call("POST", kRestorePath, std::string(1500, 'x'));
  EXPECT_EQ(reply.status, 503);
  EXPECT_THAT(Said(reply), HasSubstr("3000 bytes at a time"));
  EXPECT_EQ(reply.headers.at("retry-after"), "1");
  slow.Leave();
  EXPECT_TRUE(HappensSoon([this] { return http_->held_bytes() == 0; }));
  EXPECT_EQ(Call("POST", kRestorePath, std::string(1500, 'x')).status, 400);
}

TEST_F(HttpServerTest, WhoSaysNothingIsCutOff) {
  ServeHttp({.max_handshake = absl::Milliseconds(200)});
  HttpClient silent(http_->address());
  HttpClient slow(http_->address());
  slow.Send("GET /healthz HTTP/1.1\r\nHost: local");
  EXPECT_TRUE(silent.Closed());
  EXPECT_TRUE(slow.Closed());
}

TEST_F(HttpServerTest, HeadersThatTrickleAreCutOff) {
  ServeHttp({.max_handshake = absl::Milliseconds(300)});
  HttpClient slow(http_->address());
  slow.Send("GET /healthz HTTP/1.1\r\n");
  // More comes all the time, and it does not help.
  EXPECT_TRUE(HappensSoon([&slow] { return !slow.Send("X: y\r\n"); }));
}

TEST_F(HttpServerTest, BodiesThatTrickleAreCutOff) {
  ServeHttp({.max_stream_idle = absl::Milliseconds(200)});
  HttpClient slow(http_->address());
  slow.Send("POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");
  slow.Send(std::string(1000, 'x'));
  const ReceivedReply reply = slow.Receive();
  EXPECT_EQ(reply.status, 408);
  EXPECT_EQ(Reason(reply), "STREAM_IDLE");
  EXPECT_TRUE(slow.Closed());
  ExpectNothingLeftOfHttp();
}

TEST_F(HttpServerTest, ABodyThatEndsEarlyIsTold) {
  ServeHttp();
  HttpClient client(http_->address());
  client.Send("POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nfive!");
  client.EndSending();
  const ReceivedReply reply = client.Receive();
  EXPECT_EQ(reply.status, 400);
  EXPECT_THAT(Said(reply), HasSubstr("partial message"));
  ExpectNothingLeftOfHttp();
}

TEST_F(HttpServerTest, AnIdleConnectionIsClosed) {
  ServeHttp({.max_connection_idle = absl::Milliseconds(200)});
  HttpClient client(http_->address());
  EXPECT_EQ(client.Call("GET", "/healthz").status, 200);
  EXPECT_TRUE(client.Closed());
}

TEST_F(HttpServerTest, AnOldConnectionIsClosedWithItsReply) {
  ServeHttp({.max_connection_age = absl::Nanoseconds(1)});
  HttpClient client(http_->address());
  EXPECT_EQ(client.Call("GET", "/healthz").headers.at("connection"), "close");
  EXPECT_TRUE(client.Closed());
}

// Of 16 MB, which no socket holds.
TEST_F(HttpServerTest, AReplyThatNobodyReadsIsCutOff) {
  ServeHttp({.max_stream_idle = absl::Milliseconds(300)});
  const std::string picture = Png(NoiseImage(2400, 2400));
  HttpClient client(http_->address());
  client.Request("POST", "/v1/restore?format=bmp", picture);
  EXPECT_TRUE(HappensSoon([this] { return http_->held_bytes() > 16'000'000; }));
  EXPECT_TRUE(HappensSoon([this] { return http_->held_bytes() == 0; }));
  EXPECT_LT(client.Receive().body.size(), 2400U * 2400U * 3U);
  ExpectNothingLeftOfHttp();
}

// --- who may ---

class HttpAccessTest : public HttpTest {
 protected:
  HttpAccessTest() { entrance_.access = &access_; }

  static std::string Bearer(const std::string& token) {
    return absl::StrCat("Authorization: Bearer ", token, "\r\n");
  }
  ReceivedReply RestoreWith(const std::string& headers) {
    return Call("POST", kRestorePath, Png(NoiseImage(8, 8)), headers);
  }

  Access access_{
      Tokens{{Sha256Hex("infer"), {"camera", kInfer}}, {Sha256Hex("admin"), {"lab", kAdmin}}}};
};

TEST_F(HttpAccessTest, ARequestNeedsATokenOfItsGroup) {
  ServeHttp();
  EXPECT_EQ(RestoreWith(Bearer("infer")).status, 200);
  const ReceivedReply none = RestoreWith("");
  EXPECT_EQ(none.status, 401);
  EXPECT_EQ(Reason(none), "TOKEN_MISSING");
  EXPECT_EQ(none.headers.at("www-authenticate"), "Bearer");
  EXPECT_EQ(Reason(RestoreWith(Bearer("no such token"))), "TOKEN_UNKNOWN");
  EXPECT_EQ(Reason(RestoreWith(Bearer("infer") + Bearer("infer"))), "TOKEN_MISSING");
  EXPECT_EQ(RestoreWith(Bearer("inf\x01r")).status, 400);  // such a header is none
  EXPECT_EQ(RestoreWith(Bearer("inf\xc3\xa9r")).status, 401);
  const ReceivedReply wrong = RestoreWith(Bearer("admin"));
  EXPECT_EQ(wrong.status, 403);
  EXPECT_EQ(Reason(wrong), "WRONG_GROUP");
  // Counted by the service, as those of gRPC are.
  EXPECT_EQ(Requests(absl::StatusCode::kUnauthenticated), 4);
  EXPECT_EQ(Requests(absl::StatusCode::kPermissionDenied), 1);
}

// Its body never comes: who waits for it would wait for ever.
TEST_F(HttpAccessTest, WhoMayNotIsRefusedUnread) {
  ServeHttp();
  for (const char* path : {kRestorePath, kConnectRestore}) {
    HttpClient client(http_->address());
    client.Send(absl::StrCat("POST ", path, " HTTP/1.1\r\nHost: localhost\r\n", kJson,
                             "Content-Length: 1000\r\n\r\n"));
    EXPECT_EQ(client.Receive().status, 401) << path;
    EXPECT_TRUE(client.Closed());
  }
  EXPECT_EQ(http_->held_bytes(), 0);
}

TEST_F(HttpAccessTest, HealthIsForAnyoneAndMetricsForAnyToken) {
  ServeHttp();
  EXPECT_EQ(Call("GET", "/healthz").status, 200);
  EXPECT_EQ(Call("GET", "/readyz").status, 200);
  EXPECT_EQ(Call("GET", "/metrics").status, 401);
  EXPECT_EQ(Call("GET", "/metrics", "", Bearer("nobody")).status, 401);
  EXPECT_EQ(Call("GET", "/metrics", "", Bearer("admin")).status, 200);
}

TEST_F(HttpServerTest, PagesFromElsewhereAreRefused) {
  ServeHttp();
  const auto with = [this](const std::string& headers) {
    return Call("POST", kRestorePath, Png(NoiseImage(8, 8)), headers);
  };
  EXPECT_EQ(with("Origin: http://localhost\r\n").status, 200);
  for (const char* foreign : {"http://evil.example", "null", "http://localhost:1"}) {
    const ReceivedReply reply = with(absl::StrCat("Origin: ", foreign, "\r\n"));
    EXPECT_EQ(reply.status, 403) << foreign;
    EXPECT_EQ(Reason(reply), "FOREIGN_ORIGIN");
    for (const auto& [name, value] : reply.headers) {
      EXPECT_THAT(name, testing::Not(StartsWith("access-control")));
    }
  }
  EXPECT_EQ(with("Origin: http://localhost\r\nOrigin: http://evil.example\r\n").status, 403);
}

// Who puts a request into the body of one that is refused has sent one and not two.
TEST_F(HttpServerTest, ABodyThatWasNotReadIsNoRequest) {
  ServeHttp();
  for (const char* refused : {"Origin: http://evil.example\r\n", "Host: twice\r\n"}) {
    HttpClient client(http_->address());
    client.Request("POST", kRestorePath, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
                   refused);
    const ReceivedReply reply = client.Receive();
    EXPECT_GE(reply.status, 400);
    EXPECT_EQ(reply.headers.at("connection"), "close");
    EXPECT_TRUE(client.Closed());
  }
}

TEST_F(HttpServerTest, NamesThatOthersGaveThisMachineAreRefused) {
  ServeHttp();
  HttpClient client(http_->address());
  client.Send("GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n");
  EXPECT_EQ(Reason(client.Receive()), "FOREIGN_HOST");
}

// Whose quota a request uses where there are no tokens; the log tells.
TEST_F(HttpServerTest, ACallerIsItsConnectionWhateverItClaims) {
  const auto before = spdlog::default_logger();
  std::ostringstream lines;
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(lines)));
  spdlog::set_level(spdlog::level::debug);
  ServeHttp();
  Call("POST", kRestorePath, "no picture", "Deweather-Peer: ipv4:192.0.2.1:5\r\n");
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
  spdlog::set_default_logger(before);
  EXPECT_THAT(lines.str(), HasSubstr("Restore for http:ipv4:127.0.0.1:"));
  EXPECT_THAT(lines.str(), testing::Not(HasSubstr("192.0.2.1")));
}

// --- what is no request ---

TEST_F(HttpServerTest, WhatIsNoRequestIsAnsweredAndClosed) {
  ServeHttp();
  const std::tuple<std::string, int> cases[] = {
      {"nonsense\r\n\r\n", 400},
      {"GET /healthz HTTP/1.1\r\n\r\n", 400},                                     // no host
      {"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},               // two
      {"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},  // a proxy's
      {"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
      {"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n", 505},
      {"GET /healthz HTTP/1.1\r\nHost : localhost\r\n\r\n", 400},
      {"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\x01\r\n\r\n", 400},
      {"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400},
      {"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: "
       "2\r\n\r\n",
       400},
      {"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n"
       "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       400},
      {"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
       400},
      {"POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
       "ffffffffffffffffff\r\n",
       400},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505}};
  for (const auto& [bytes, status] : cases) {
    HttpClient client(http_->address());
    client.Send(bytes);
    const ReceivedReply reply = client.Receive();
    EXPECT_EQ(reply.status, status) << absl::CHexEscape(bytes) << "\n" << reply.body;
    EXPECT_TRUE(client.Closed()) << absl::CHexEscape(bytes);
  }
  ExpectNothingLeftOfHttp();
}

TEST_F(HttpServerTest, ABadRequestIdOrDeadlineIsNotPassedOn) {
  ServeHttp();
  const ReceivedReply odd = Call("GET", "/healthz", "", "X-Request-Id: \xff\xfe\r\n");
  EXPECT_EQ(odd.headers.at("x-request-id").size(), 32U);
  const std::string picture = Png(NoiseImage(8, 8));
  for (const char* text : {"soon", "-1", "0", "12345678901", "1.5", ""}) {
    const ReceivedReply bad =
        Call("POST", kRestorePath, picture, absl::StrCat("Connect-Timeout-Ms: ", text, "\r\n"));
    EXPECT_EQ(bad.status, 400) << text;
    EXPECT_THAT(Said(bad), HasSubstr("connect-timeout-ms is"));
  }
  EXPECT_EQ(Call("POST", kRestorePath, picture,
                 "Connect-Timeout-Ms: 60000\r\nConnect-Timeout-Ms: 60000\r\n")
                .status,
            400);
  EXPECT_EQ(Call("POST", kRestorePath, picture, "Connect-Timeout-Ms: 60000\r\n").status, 200);
  EXPECT_EQ(Call("POST", kRestorePath, picture, "Traceparent: \xff\r\n").status, 200);
}

// What others may take for the end of a body, or for a header: no second request comes out of it.
TEST_F(HttpServerTest, NothingIsSmuggledBehindAnOddHead) {
  ServeHttp();
  const std::string second = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
  for (const char* const head :
       {"Transfer-Encoding: xchunked\r\n", "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip\r\n", "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n", "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n",
        "Transfer-Encoding:\r\n chunked\r\n", "Content-Length:\r\n 0\r\n",
        "X: a\r\n Content-Length: 0\r\n", "X: a\r\n\tb\r\n"}) {
    HttpClient client(http_->address());
    client.Send(
        absl::StrCat("POST /v1/restore HTTP/1.1\r\nHost: localhost\r\n", head, "\r\n", second));
    EXPECT_EQ(client.Receive().status, 400) << head;
    EXPECT_TRUE(client.Closed()) << head;
  }
  HttpClient old(http_->address());
  old.Send(
      absl::StrCat("POST /v1/restore HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: "
                   "chunked\r\n\r\n0\r\n\r\n",
                   second));
  EXPECT_EQ(old.Receive().status, 400);
  EXPECT_TRUE(old.Closed());
}

// Requests with bytes turned over, cut short and put together anew: whatever comes, the server stays.
TEST_F(HttpServerTest, MalformedRequestsAreSurvived) {
  ServeHttp({.max_stream_idle = absl::Seconds(2), .max_handshake = absl::Seconds(2)});
  const std::string picture = Png(NoiseImage(8, 8));
  const std::vector<std::string> seeds = {
      "GET /healthz HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\r\n",
      absl::StrCat(
          "POST /v1/restore?format=png&quality=5 HTTP/1.1\r\nHost: localhost\r\nContent-Length: ",
          picture.size(), "\r\n\r\n", picture),
      "POST /deweather.v1.RestorationService/Restore HTTP/1.1\r\nHost: localhost\r\n"
      "Content-Type: application/json\r\nContent-Length: 30\r\n\r\n{\"image\": \"AAAA\", "
      "\"options\":{}}",
      "POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5\r\nhello\r\n0\r\n\r\n"};
  std::mt19937 random(11);
  for (int round = 0; round < 1000; ++round) {
    std::string bytes = seeds[random() % seeds.size()];
    for (unsigned turn = random() % 4; turn > 0; --turn) {
      const size_t at = random() % bytes.size();
      const unsigned kind = random() % 3;
      if (kind == 0) bytes[at] = static_cast<char>(random());
      if (kind == 1) bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 40));
      if (kind == 2) bytes.erase(at, random() % 40 + 1);
      if (bytes.empty()) bytes = "x";
    }
    HttpClient client(http_->address());
    client.Send(bytes);
    client.EndSending();
    if (random() % 4 == 0) client.Receive();
  }
  ExpectStillServesHttp();
  ExpectNothingLeftOfHttp();
}

// --- the end ---

TEST_F(HttpServerTest, ACallerWhoLeavesCancelsItsCall) {
  const ModelGate gate;
  ModelGate opened = gate;
  FakeModel fake{.on_run = opened.OnRun()};
  ServeHttp({}, &fake);
  HttpClient client(http_->address());
  client.Request("POST", "/v1/restore?model=fake", Png(NoiseImage(8, 8)));
  opened.AwaitModel();
  client.Leave();
  // The call's place is given up although the model has not moved.
  EXPECT_TRUE(HappensSoon([this] { return http_->held_bytes() == 0; }));
  opened.Open();
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
  EXPECT_TRUE(HappensSoon([this] { return Requests(absl::StatusCode::kCancelled) == 1; }));
}

TEST_F(HttpServerTest, AServerThatDrainsFinishesWhatItHas) {
  ModelGate gate;
  FakeModel fake{.on_run = gate.OnRun()};
  ServeHttp({}, &fake);
  HttpClient idle(http_->address());
  EXPECT_EQ(idle.Call("GET", "/healthz").status, 200);
  HttpClient busy(http_->address());
  busy.Request("POST", "/v1/restore?model=fake", Png(NoiseImage(8, 8)));
  gate.AwaitModel();
  http_->BeginDrain();
  EXPECT_TRUE(idle.Closed());
  gate.Open();
  const ReceivedReply reply = busy.Receive();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("connection"), "close");
  EXPECT_TRUE(busy.Closed());
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
}

TEST_F(HttpServerTest, AndCutsOffTheRest) {
  ModelGate gate;
  FakeModel fake{.on_run = gate.OnRun()};
  ServeHttp({}, &fake);
  HttpClient busy(http_->address());
  busy.Request("POST", "/v1/restore?model=fake", Png(NoiseImage(8, 8)));
  HttpClient half(http_->address());
  half.Send("POST /v1/restore HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n");
  gate.AwaitModel();
  http_->Stop();
  EXPECT_TRUE(busy.Closed());
  EXPECT_TRUE(half.Closed());
  gate.Open();
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
}

// 64 MiB there and back, as large as a message may be.
TEST_F(HttpServerTest, TheLargestBodyPasses) {
  ServeHttp();
  const std::string picture =
      EncodeImage(NoiseImage(4000, 4000), {.format = ImageFormat::kBmp}).value();
  const std::string largest =
      picture + std::string((size_t{64} << 20) - 4096 - picture.size(), '\0');
  const ReceivedReply reply = Call("POST", kRestorePath, largest);
  EXPECT_EQ(reply.status, 200) << reply.body.substr(0, 200);
  EXPECT_EQ(DecodeImage(reply.body, {}).value().samples, NoiseImage(4000, 4000).samples);
}

}  // namespace
}  // namespace deweather
