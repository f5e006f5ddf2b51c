// HTTP over TLS: the certificates of gRPC, and who has the right ones.

#include <gmock/gmock.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <fstream>
#include <memory>
#include <string>

#include "tests/access/make_certificate.h"
#include "tests/http/http_fixture.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

struct Freed {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(BIO* bio) const { BIO_free_all(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
template <typename T>
using Owned = std::unique_ptr<T, Freed>;

const IssuedCertificate& Authority() {
  static const auto* const made =
      new IssuedCertificate(MakeCertificate({.name = "authority", .authority = true}));
  return *made;
}

IssuedCertificate Signed(const std::string& name = "localhost") {
  return MakeCertificate({.name = name, .issuer = &Authority()});
}

Owned<X509> Parsed(const std::string& pem) {
  const Owned<BIO> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Owned<X509>(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

// How somebody calls.
struct Client {
  IssuedCertificate own = {};  // none: it shows none
  int max_version = 0;         // 0: OpenSSL's newest
  std::string protocols = {};  // of ALPN, as they are sent; empty: none
};

// What comes back of GET /healthz; empty: there is no connection to speak over.
std::string Healthz(const std::string& address, const IssuedCertificate& trusted,
                    const Client& client = {}) {
  const Owned<SSL_CTX> context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), Parsed(trusted.certificate).get());
  SSL_CTX_set_security_level(context.get(), 0);  // old versions are refused above it
  if (client.max_version != 0) SSL_CTX_set_max_proto_version(context.get(), client.max_version);
  if (!client.own.key.empty()) {
    SSL_CTX_use_certificate(context.get(), Parsed(client.own.certificate).get());
    const Owned<BIO> bio(
        BIO_new_mem_buf(client.own.key.data(), static_cast<int>(client.own.key.size())));
    SSL_CTX_use_PrivateKey(
        context.get(),
        Owned<EVP_PKEY>(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr)).get());
  }
  if (!client.protocols.empty()) {
    SSL_CTX_set_alpn_protos(context.get(),
                            reinterpret_cast<const unsigned char*>(client.protocols.data()),
                            static_cast<unsigned>(client.protocols.size()));
  }
  const Owned<BIO> connection(BIO_new_ssl_connect(context.get()));
  SSL* ssl = nullptr;
  BIO_get_ssl(connection.get(), &ssl);
  SSL_set1_host(ssl, "localhost");
  BIO_set_conn_hostname(connection.get(), address.c_str());
  if (BIO_do_connect(connection.get()) != 1) return "";
  const std::string request =
      "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  BIO_write(connection.get(), request.data(), static_cast<int>(request.size()));
  std::string reply;
  char some[4096];
  for (int got = 0; (got = BIO_read(connection.get(), some, sizeof(some))) > 0;) {
    reply.append(some, static_cast<size_t>(got));
  }
  return reply;
}

class HttpTlsTest : public HttpTest {
 protected:
  void ServeTls(const IssuedCertificate& own, bool mutual = false,
                const LimitOptions& limits = {}) {
    Write(own);
    tls_ = {folder_ + "/server.pem", folder_ + "/server.key", mutual ? folder_ + "/ca.pem" : ""};
    if (mutual) std::ofstream(tls_.client_ca_file) << Authority().certificate;
    auto certificates = LiveCertificates::Read(tls_, absl::Now());
    ASSERT_TRUE(certificates.ok()) << certificates.status();
    certificates_ = *std::move(certificates);
    ServeHttp(limits, nullptr, certificates_);
  }
  void Write(const IssuedCertificate& own) const {
    std::ofstream(folder_ + "/server.pem") << own.certificate;
    std::ofstream(folder_ + "/server.key") << own.key;
  }
  bool Served(const IssuedCertificate& trusted = Authority(), const Client& client = {}) const {
    return Healthz(http_->address(), trusted, client).starts_with("HTTP/1.1 200");
  }

  const std::string folder_ = NewFolder();
  TlsOptions tls_;
  std::shared_ptr<LiveCertificates> certificates_;
};

TEST_F(HttpTlsTest, WhoTrustsTheAuthorityIsServed) {
  ServeTls(Signed());
  EXPECT_TRUE(Served());
  EXPECT_FALSE(Served(MakeCertificate({.name = "stranger", .authority = true})));
}

TEST_F(HttpTlsTest, OfProtocolsItSpeaksHttp11) {
  ServeTls(Signed());
  EXPECT_TRUE(Served(Authority(), {.protocols = "\2h2\10http/1.1"}));
  EXPECT_FALSE(Served(Authority(), {.protocols = "\2h2"}));
}

TEST_F(HttpTlsTest, NothingOlderThanTls12) {
  ServeTls(Signed());
  EXPECT_TRUE(Served(Authority(), {.max_version = TLS1_2_VERSION}));
  EXPECT_FALSE(Served(Authority(), {.max_version = TLS1_1_VERSION}));
}

TEST_F(HttpTlsTest, MutualTlsWantsACertificateOfTheAuthority) {
  ServeTls(Signed(), /*mutual=*/true);
  EXPECT_TRUE(Served(Authority(), {.own = Signed("caller")}));
  EXPECT_FALSE(Served());
  EXPECT_FALSE(Served(Authority(), {.own = MakeCertificate()}));
  EXPECT_TRUE(Served(Authority(), {.own = Signed("caller")}));
}

TEST_F(HttpTlsTest, NewCertificatesAreForNewConnections) {
  ServeTls(Signed());
  const IssuedCertificate stranger = MakeCertificate({.name = "stranger", .authority = true});
  EXPECT_FALSE(Served(stranger));
  const IssuedCertificate next = MakeCertificate({.issuer = &stranger});
  Write(next);
  certificates_->ReadNow();
  EXPECT_TRUE(HappensSoon([&] { return certificates_->current()->chain == next.certificate; }));
  EXPECT_TRUE(Served(stranger));
  EXPECT_FALSE(Served());
}

TEST_F(HttpTlsTest, HalfAHandshakeAndPlaintextAreCutOff) {
  ServeTls(Signed(), false, {.max_handshake = absl::Milliseconds(300)});
  HttpClient silent(http_->address());
  HttpClient half(http_->address());
  half.Send(std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11));
  HttpClient plain(http_->address());
  plain.Request("GET", "/healthz");
  EXPECT_EQ(plain.Receive().status, 0);
  EXPECT_TRUE(silent.Closed());
  EXPECT_TRUE(half.Closed());
  EXPECT_TRUE(Served());
}

TEST_F(HttpTlsTest, AServerThatDrainsClosesThem) {
  ServeTls(Signed());
  EXPECT_TRUE(Served());
  http_->BeginDrain();
  EXPECT_FALSE(Served());
  EXPECT_TRUE(calls_.WaitUntilEmptyFor(absl::Seconds(30)));
}

}  // namespace
}  // namespace deweather
