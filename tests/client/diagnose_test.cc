#include "client/diagnose.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "deweather/v1/training.grpc.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/access/make_certificate.h"

namespace deweather {
namespace {

using grpc::Status;
using grpc::StatusCode;
using testing::AllOf;
using testing::HasSubstr;

class Jobs final : public v1::TrainingService::Service {
 public:
  Status GetJob(grpc::ServerContext*, const v1::GetJobRequest*, v1::Job*) override {
    return Status::OK;
  }
};

// A socket that listens and whose connections get `answer`, if that is not empty, and are closed; else they wait,
// or are closed at once.
class PlainListener {
 public:
  explicit PlainListener(std::string answer, bool hangs_up = false)
      : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(socket_, 16), 0);
    getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    server_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
    if (hangs_up) thread_ = std::jthread([this] { HangUp(); });
    if (!answer.empty()) thread_ = std::jthread([this, answer] { Answer(answer); });
  }
  ~PlainListener() {
    shutdown(socket_, SHUT_RDWR);
    thread_ = {};
    close(socket_);
  }
  const std::string& server() const { return server_; }

 private:
  void HangUp() const {
    for (int one = accept(socket_, nullptr, nullptr); one >= 0;
         one = accept(socket_, nullptr, nullptr)) {
      close(one);
    }
  }
  void Answer(const std::string& answer) const {
    for (int one = accept(socket_, nullptr, nullptr); one >= 0;
         one = accept(socket_, nullptr, nullptr)) {
      std::array<char, 1024> unread;
      EXPECT_GT(recv(one, unread.data(), unread.size(), 0), 0);
      EXPECT_EQ(send(one, answer.data(), answer.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(answer.size()));
      shutdown(one, SHUT_WR);
      while (recv(one, unread.data(), unread.size(), 0) > 0) {
      }
      close(one);
    }
  }

  const int socket_;
  std::string server_;
  std::jthread thread_;
};

class DiagnoseTest : public testing::Test {
 protected:
  // A server with this certificate; of `clients` callers must have one.
  void Serve(const IssuedCertificate& pair, const std::string& clients = "") {
    grpc::SslServerCredentialsOptions options(
        clients.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                        : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    options.pem_root_certs = clients;
    options.pem_key_cert_pairs.push_back({pair.key, pair.certificate});
    Start(grpc::SslServerCredentials(options));
  }

  void Start(const std::shared_ptr<grpc::ServerCredentials>& credentials) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", credentials, &port);
    builder.RegisterService(&jobs_);
    server_ = builder.BuildAndStart();
    flags_.server = absl::StrCat("127.0.0.1:", port);
  }

  void Trust(const std::string& ca) {
    flags_.credentials.tls = true;
    flags_.credentials.ca = ca;
    flags_.credentials.ca_file = "ca.pem";
  }

  void Show(const IssuedCertificate& own) {
    flags_.credentials.certificate = own.certificate;
    flags_.credentials.key = own.key;
  }

  // What a call says that must end with UNAVAILABLE; or "OK".
  std::string Said() {
    const auto stub = v1::TrainingService::NewStub(OpenChannel(flags_, {.own_connection = true}));
    grpc::ClientContext context;
    SetDeadline(flags_, context);
    v1::Job job;
    const Status status = stub->GetJob(&context, {}, &job);
    if (status.ok()) return "OK";
    EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE) << status.error_message();
    const absl::Status explained = Explained(flags_, status);
    EXPECT_EQ(explained.code(), absl::StatusCode::kUnavailable);
    return std::string(explained.message());
  }

  const absl::Time now_ = absl::Now();
  const IssuedCertificate authority_ = MakeCertificate({.name = "home", .authority = true});
  const IssuedCertificate other_ = MakeCertificate({.name = "elsewhere", .authority = true});
  Jobs jobs_;
  std::unique_ptr<grpc::Server> server_;
  ServerFlags flags_;
};

TEST_F(DiagnoseTest, NothingIsWrong) {
  Start(grpc::InsecureServerCredentials());
  EXPECT_EQ(Said(), "OK");
  EXPECT_EQ(Diagnose(flags_), "");
}

TEST_F(DiagnoseTest, NothingIsWrongWithTls) {
  Serve(MakeCertificate({.issuer = &authority_}), authority_.certificate);
  Trust(authority_.certificate);
  Show(MakeCertificate({.issuer = &authority_}));
  EXPECT_EQ(Said(), "OK");
  EXPECT_EQ(Diagnose(flags_), "");
}

TEST_F(DiagnoseTest, NobodyListens) {
  Start(grpc::InsecureServerCredentials());
  server_.reset();
  EXPECT_EQ(Said(), absl::StrCat("cannot connect to ", flags_.server, ": Connection refused"));
}

TEST_F(DiagnoseTest, ANameWithoutAnAddress) {
  flags_.server = "nowhere.invalid:50051";
  EXPECT_THAT(Said(), HasSubstr("the name of nowhere.invalid:50051 has no address"));
}

TEST_F(DiagnoseTest, PlaintextToATlsPort) {
  Serve(MakeCertificate({.issuer = &authority_}));
  EXPECT_THAT(Said(), AllOf(HasSubstr("speaks TLS"), HasSubstr("--tls-ca")));
}

TEST_F(DiagnoseTest, TlsToAPlaintextPort) {
  Start(grpc::InsecureServerCredentials());
  Trust(authority_.certificate);
  EXPECT_THAT(Said(), HasSubstr("speaks gRPC without TLS"));
}

TEST_F(DiagnoseTest, AnotherAuthority) {
  Serve(MakeCertificate({.issuer = &other_}));
  Trust(authority_.certificate);
  EXPECT_THAT(Said(), AllOf(HasSubstr("elsewhere"), HasSubstr("not in 'ca.pem'")));
}

TEST_F(DiagnoseTest, SelfSigned) {
  Serve(MakeCertificate());
  Trust(authority_.certificate);
  EXPECT_THAT(Said(), HasSubstr("is self-signed and not in 'ca.pem'"));
}

TEST_F(DiagnoseTest, Expired) {
  Serve(MakeCertificate(
      {.issuer = &authority_, .begins = now_ - absl::Hours(2), .expires = now_ - absl::Hours(1)}));
  Trust(authority_.certificate);
  EXPECT_THAT(Said(),
              testing::MatchesRegex("the certificate of 127.0.0.1 expired on [0-9: -]{16} UTC"));
}

TEST_F(DiagnoseTest, NotYetValid) {
  Serve(MakeCertificate(
      {.issuer = &authority_, .begins = now_ + absl::Hours(1), .expires = now_ + absl::Hours(2)}));
  Trust(authority_.certificate);
  EXPECT_THAT(Said(), AllOf(HasSubstr("is not valid before"), HasSubstr("clock")));
}

TEST_F(DiagnoseTest, AnotherHost) {
  Serve(MakeCertificate({.alternatives = "DNS:a.example,IP:192.0.2.1", .issuer = &authority_}));
  Trust(authority_.certificate);
  EXPECT_THAT(Said(), AllOf(HasSubstr("for a.example, 192.0.2.1, not for 127.0.0.1"),
                            HasSubstr("--tls-name")));
  flags_.credentials.name = "a.example";
  EXPECT_EQ(Said(), "OK");
  flags_.credentials.name = "b.example";
  EXPECT_THAT(Said(), HasSubstr("not for b.example"));
}

TEST_F(DiagnoseTest, NoCertificateOfOurOwn) {
  Serve(MakeCertificate({.issuer = &authority_}), authority_.certificate);
  Trust(authority_.certificate);
  EXPECT_THAT(Said(), HasSubstr("wants a certificate of the caller"));
}

TEST_F(DiagnoseTest, OurCertificateIsOfAnotherAuthority) {
  Serve(MakeCertificate({.issuer = &authority_}), authority_.certificate);
  Trust(authority_.certificate);
  Show(MakeCertificate({.issuer = &other_}));
  EXPECT_THAT(Said(), AllOf(HasSubstr("refuses the certificate of --tls-cert"),
                            HasSubstr("elsewhere; it takes those of /CN=home")));
}

TEST_F(DiagnoseTest, OurCertificateHasExpired) {
  Serve(MakeCertificate({.issuer = &authority_}), authority_.certificate);
  Trust(authority_.certificate);
  Show(MakeCertificate(
      {.issuer = &authority_, .begins = now_ - absl::Hours(2), .expires = now_ - absl::Hours(1)}));
  EXPECT_THAT(Said(), HasSubstr("the certificate of --tls-cert, which expired on"));
}

TEST_F(DiagnoseTest, AnotherProtocol) {
  const PlainListener web("HTTP/1.1 400 Bad Request\r\n\r\n");
  flags_.server = web.server();
  EXPECT_THAT(Diagnose(flags_), HasSubstr("speaks HTTP/1"));
  Trust(authority_.certificate);
  EXPECT_THAT(Diagnose(flags_), HasSubstr("speaks no TLS"));
}

// As a server does that has as many connections as it takes.
TEST_F(DiagnoseTest, HangsUpAtOnce) {
  const PlainListener full("", /*hangs_up=*/true);
  flags_.server = full.server();
  const auto is_full = AllOf(HasSubstr(absl::StrCat(full.server(), " closes connections")),
                             HasSubstr("limits.max_connections"));
  EXPECT_THAT(Said(), is_full);
  Trust(authority_.certificate);
  EXPECT_THAT(Said(), is_full);
}

TEST_F(DiagnoseTest, EndsInTime) {
  const PlainListener silent("");
  flags_.server = silent.server();
  EXPECT_THAT(Diagnose(flags_, absl::Milliseconds(50)), HasSubstr("says nothing"));
  Trust(authority_.certificate);
  EXPECT_THAT(Diagnose(flags_, absl::Milliseconds(50)), HasSubstr("says nothing"));
}

TEST_F(DiagnoseTest, AProxyIsNotLookedThrough) {
  ASSERT_EQ(setenv("https_proxy", "http://proxy.invalid:1", 1), 0);
  flags_.server = "nowhere.invalid:50051";
  EXPECT_EQ(Diagnose(flags_), "");
  unsetenv("https_proxy");
}

Status WithReason(StatusCode code, const std::string& reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  return {code, "no", details.SerializeAsString()};
}

TEST(ExplainedTest, WhatAServerSaysStays) {
  EXPECT_EQ(Explained({.server = "127.0.0.1:1"}, WithReason(StatusCode::UNAVAILABLE, "DRAINING")),
            absl::UnavailableError("no"));
  EXPECT_EQ(Explained({}, {StatusCode::NOT_FOUND, "no"}), absl::NotFoundError("no"));
  EXPECT_TRUE(Explained({}, Status::OK).ok());
}

TEST(ExplainedTest, TokensAreToldByTheirFlag) {
  EXPECT_THAT(Explained({}, WithReason(StatusCode::UNAUTHENTICATED, "TOKEN_MISSING")).message(),
              HasSubstr("no; --token-file"));
  EXPECT_THAT(Explained({}, WithReason(StatusCode::UNAUTHENTICATED, "TOKEN_UNKNOWN")).message(),
              HasSubstr("that of --token-file"));
}

TEST(ExplainedTest, TheLimitOfAMessageIsNamed) {
  const absl::Status status = Explained(
      {},
      {StatusCode::RESOURCE_EXHAUSTED, "Received message larger than max (5000000 vs. 4194304)"});
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("5000000"), HasSubstr("4194304 that are taken")));
}

}  // namespace
}  // namespace deweather
