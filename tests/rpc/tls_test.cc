// Servers with certificates, and callers who have the right ones, the wrong ones or none.

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/numbers.h"
#include "server/rpc/tls_credentials.h"
#include "tests/access/make_certificate.h"
#include "tests/new_folder.h"
#include "tests/rpc/rpc_fixture.h"

namespace deweather {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kYear = absl::Hours(24 * 365);

const IssuedCertificate& Authority() {
  static const auto* const made =
      new IssuedCertificate(MakeCertificate({.name = "authority", .authority = true}));
  return *made;
}

const IssuedCertificate& Stranger() {
  static const auto* const made =
      new IssuedCertificate(MakeCertificate({.name = "stranger", .authority = true}));
  return *made;
}

IssuedCertificate Signed(const std::string& name = "localhost") {
  return MakeCertificate({.name = name, .issuer = &Authority()});
}

class TlsTest : public RpcTest {
 protected:
  // With that certificate; `now` is when the server looks at it. Callers need one too if `mutual`.
  void ServeTls(const IssuedCertificate& own, bool mutual = false, const LimitOptions& limits = {},
                absl::Time now = absl::Now()) {
    Write(own);
    tls_ = {folder_ + "/server.pem", folder_ + "/server.key", mutual ? folder_ + "/ca.pem" : ""};
    if (mutual) std::ofstream(tls_.client_ca_file) << Authority().certificate;
    auto certificates = LiveCertificates::Read(tls_, now);
    ASSERT_TRUE(certificates.ok()) << certificates.status();
    certificates_ = *std::move(certificates);
    Serve(limits, nullptr, {.workers = 2, .max_batch = 4}, certificates_);
  }

  void Write(const IssuedCertificate& own) const {
    std::ofstream(folder_ + "/server.pem") << own.certificate;
    std::ofstream(folder_ + "/server.key") << own.key;
  }

  // A call over a connection of its own.
  grpc::Status CallWith(const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                        const std::string& host = "localhost") const {
    const auto stub = v1::RestorationService::NewStub(Open(credentials, host));
    v1::RestoreRequest request;
    request.set_image(Png(NoiseImage(8, 8)));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(60)));
    v1::RestoreResponse response;
    return stub->Restore(&context, request, &response);
  }

  std::shared_ptr<grpc::Channel> Open(const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                                      const std::string& host = "localhost") const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetSslTargetNameOverride(host);
    return grpc::CreateCustomChannel(server_.address, credentials, arguments);
  }

  static std::shared_ptr<grpc::ChannelCredentials> Trusting(const IssuedCertificate& authority,
                                                            const IssuedCertificate& own = {}) {
    return grpc::SslCredentials({authority.certificate, own.key, own.certificate});
  }

  int ConnectPlain() const {
    sockaddr_in where = {};
    where.sin_family = AF_INET;
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(server_.address.substr(server_.address.rfind(':') + 1), &port));
    where.sin_port = htons(static_cast<uint16_t>(port));
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&where), sizeof(where)), 0);
    return fd;
  }

  // Sends that and gives all that comes until the server closes.
  std::string Exchange(const std::string& bytes) const {
    const int fd = ConnectPlain();
    EXPECT_EQ(send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
    std::string all;
    char some[4096];
    for (ssize_t got = 0; (got = recv(fd, some, sizeof(some), 0)) > 0;) {
      all.append(some, static_cast<size_t>(got));
    }
    close(fd);
    return all;
  }

  static void ExpectUnavailable(const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
  }

  const std::string folder_ = NewFolder();
  TlsOptions tls_;
  std::shared_ptr<LiveCertificates> certificates_;
};

TEST_F(TlsTest, CallersWhoTrustTheAuthorityAreServed) {
  ServeTls(Signed());
  const grpc::Status status = CallWith(Trusting(Authority()));
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(TlsTest, CallersRefuseAServerThatIsNotWhoItShouldBe) {
  ServeTls(Signed());
  ExpectUnavailable(CallWith(Trusting(Stranger())));                        // another authority
  ExpectUnavailable(CallWith(Trusting(Authority()), "elsewhere.invalid"));  // another host
  EXPECT_TRUE(CallWith(Trusting(Authority())).ok());
}

TEST_F(TlsTest, CallersRefuseSelfSignedAndExpired) {
  ServeTls(MakeCertificate());
  ExpectUnavailable(CallWith(Trusting(Authority())));
  TearDown();
  // It was valid when the server read it.
  const IssuedCertificate expired = MakeCertificate(
      {.issuer = &Authority(), .begins = absl::Now() - 2 * kYear, .expires = absl::Now() - kYear});
  ServeTls(expired, false, {}, absl::Now() - 1.5 * kYear);
  ExpectUnavailable(CallWith(Trusting(Authority())));
}

TEST_F(TlsTest, PlaintextAndTlsDoNotMix) {
  ServeTls(Signed());
  ExpectUnavailable(CallWith(grpc::InsecureChannelCredentials()));
  EXPECT_TRUE(CallWith(Trusting(Authority())).ok());
  TearDown();
  Serve();
  ExpectUnavailable(CallWith(Trusting(Authority())));
  ExpectStillServes();
}

TEST_F(TlsTest, MutualTlsWantsACertificateOfTheAuthority) {
  ServeTls(Signed(), true);
  const grpc::Status good = CallWith(Trusting(Authority(), Signed("caller")));
  EXPECT_TRUE(good.ok()) << good.error_message();
  ExpectUnavailable(CallWith(Trusting(Authority())));                     // none
  ExpectUnavailable(CallWith(Trusting(Authority(), MakeCertificate())));  // signs itself
  ExpectUnavailable(CallWith(Trusting(Authority(), MakeCertificate({.issuer = &Stranger()}))));
  ExpectUnavailable(CallWith(
      Trusting(Authority(), MakeCertificate({.issuer = &Authority(),
                                             .begins = absl::Now() - 2 * kYear,
                                             .expires = absl::Now() - kYear}))));  // expired
  EXPECT_TRUE(CallWith(Trusting(Authority(), Signed("caller"))).ok());
}

TEST_F(TlsTest, NewCertificatesAreForNewConnections) {
  ServeTls(Signed());
  const auto channel = Open(Trusting(Authority()));
  stub_ = v1::RestorationService::NewStub(channel);
  ExpectStillServes();
  const IssuedCertificate next = MakeCertificate({.issuer = &Stranger()});
  Write(next);
  certificates_->ReadNow();
  ASSERT_TRUE(HappensSoon([&] { return certificates_->current()->chain == next.certificate; }));
  ExpectUnavailable(CallWith(Trusting(Authority())));
  EXPECT_TRUE(CallWith(Trusting(Stranger())).ok());
  ExpectStillServes();  // over the old connection
}

TEST_F(TlsTest, TornAndVanishedCertificatesLeaveTheOld) {
  const IssuedCertificate own = Signed();
  ServeTls(own);
  const auto before = certificates_->current();
  Write({own.certificate.substr(0, own.certificate.size() / 2), own.key});
  certificates_->Take(ReadWatchedFiles({tls_.certificate_file, tls_.key_file}), absl::Now());
  EXPECT_TRUE(CallWith(Trusting(Authority())).ok());
  unlink(tls_.key_file.c_str());
  certificates_->Take(ReadWatchedFiles({tls_.certificate_file, tls_.key_file}), absl::Now());
  EXPECT_TRUE(CallWith(Trusting(Authority())).ok());
  EXPECT_EQ(certificates_->current(), before);
}

TEST_F(TlsTest, AnAuthorityThatIsReplacedLetsItsCallersInNoMore) {
  ServeTls(Signed(), true);
  const IssuedCertificate of_stranger = MakeCertificate({.issuer = &Stranger()});
  EXPECT_TRUE(CallWith(Trusting(Authority(), Signed("caller"))).ok());
  std::ofstream(tls_.client_ca_file) << Stranger().certificate;
  certificates_->ReadNow();
  ASSERT_TRUE(
      HappensSoon([&] { return certificates_->current()->client_ca == Stranger().certificate; }));
  ExpectUnavailable(CallWith(Trusting(Authority(), Signed("caller"))));
  EXPECT_TRUE(CallWith(Trusting(Authority(), of_stranger)).ok());
}

TEST_F(TlsTest, HalfAHandshakeIsCutOff) {
  ServeTls(Signed(), false, {.max_handshake = absl::Seconds(1)});
  EXPECT_EQ(Exchange(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11)), "");
  EXPECT_EQ(Exchange(""), "");  // not a word
  EXPECT_TRUE(CallWith(Trusting(Authority())).ok());
}

TEST_F(TlsTest, SilenceAndHttp1AreCutOff) {
  Serve({.max_handshake = absl::Seconds(1)});
  Exchange("");
  Exchange("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ExpectStillServes();
}

TEST_F(TlsTest, NothingOlderThanTls12) {
  ServeTls(Signed());
  for (const auto& [version, works] : {std::pair{TLS1_1_VERSION, false}, {TLS1_2_VERSION, true}}) {
    SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
    SSL_CTX_set_security_level(context, 0);  // the old ones are refused above it
    const unsigned char http2[] = {2, 'h', '2'};
    SSL_CTX_set_alpn_protos(context, http2, sizeof(http2));
    SSL* const ssl = SSL_new(context);
    const int fd = ConnectPlain();
    SSL_set_fd(ssl, fd);
    EXPECT_EQ(SSL_connect(ssl) == 1, works) << version;
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
  }
}

TEST_F(TlsTest, TheCallersAddressIsKnownWithTlsAndWithout) {
  LimitOptions limits;
  limits.max_concurrent_streams = 7;
  ServeTls(Signed(), false, limits);
  EXPECT_EQ(server_.listener->CountOpen(), 0);
  const auto channel = Open(Trusting(Authority()));
  stub_ = v1::RestorationService::NewStub(channel);
  ExpectStillServes();
  EXPECT_EQ(server_.listener->CountOpen(), 1);
}

}  // namespace
}  // namespace deweather
