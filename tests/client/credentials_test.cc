#include "client/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "model/base/file.h"
#include "tests/access/make_certificate.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kHere[] = "127.0.0.1:50051";
constexpr char kThere[] = "192.0.2.1:50051";

class CredentialsTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& bytes, mode_t mode = 0600) {
    const std::string path = folder_ + "/" + name;
    EXPECT_TRUE(WriteFileAtomically(path, bytes).ok());
    EXPECT_EQ(chmod(path.c_str(), mode), 0);
    return path;
  }

  std::string ErrorOf(const CredentialFlags& flags, const std::string& server = kHere) {
    const absl::StatusOr<Credentials> credentials = ReadCredentials(flags, server);
    EXPECT_EQ(credentials.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(credentials.status().message());
  }

  const std::string folder_ = NewFolder();
};

TEST_F(CredentialsTest, NoneWithoutFlags) {
  const absl::StatusOr<Credentials> none = ReadCredentials({}, kThere);
  ASSERT_TRUE(none.ok());
  EXPECT_FALSE(none->tls);
  EXPECT_EQ(none->token, "");
}

TEST_F(CredentialsTest, AnyFlagOfTlsMeansTls) {
  const IssuedCertificate pair = MakeCertificate();
  const std::string certificate = Write("cert.pem", pair.certificate);
  const std::string key = Write("key.pem", pair.key);
  ASSERT_EQ(setenv("SSL_CERT_FILE", certificate.c_str(), 1), 0);
  for (const CredentialFlags& flags :
       {CredentialFlags{.tls = true}, CredentialFlags{.tls_ca = certificate},
        CredentialFlags{.tls_cert = certificate, .tls_key = key},
        CredentialFlags{.tls_name = "example.org"}}) {
    const absl::StatusOr<Credentials> credentials = ReadCredentials(flags, kThere);
    ASSERT_TRUE(credentials.ok()) << credentials.status();
    EXPECT_TRUE(credentials->tls);
    EXPECT_EQ(credentials->ca, pair.certificate);
    EXPECT_EQ(credentials->ca_file, certificate);
    EXPECT_EQ(credentials->key.empty(), flags.tls_key.empty());
  }
  unsetenv("SSL_CERT_FILE");
}

TEST_F(CredentialsTest, FilesThatDoNotHoldWhatTheyAreFor) {
  const IssuedCertificate pair = MakeCertificate(), other = MakeCertificate();
  const std::string certificate = Write("cert.pem", pair.certificate);
  const std::string key = Write("key.pem", pair.key);
  const std::string none = folder_ + "/none.pem";
  const std::string text = Write("text.pem", "no certificate");
  EXPECT_THAT(ErrorOf({.tls_ca = none}),
              AllOf(StartsWith("--tls-ca: "), HasSubstr(none), HasSubstr("No such file")));
  EXPECT_THAT(ErrorOf({.tls_ca = folder_}), HasSubstr("Is a directory"));
  EXPECT_THAT(ErrorOf({.tls_ca = text}), HasSubstr("no certificate in PEM"));
  EXPECT_THAT(ErrorOf({.tls_ca = Write("cut.pem", pair.certificate.substr(0, 300))}),
              HasSubstr("no certificate in PEM"));
  EXPECT_THAT(ErrorOf({.tls_ca = Write("huge.pem", std::string(2 << 20, 'x'))}),
              HasSubstr("more than 1048576 bytes"));
  EXPECT_THAT(ErrorOf({.tls_ca = certificate, .tls_cert = certificate}), HasSubstr("--tls-key"));
  EXPECT_THAT(ErrorOf({.tls_ca = certificate, .tls_key = key}), HasSubstr("--tls-cert"));
  EXPECT_THAT(ErrorOf({.tls_ca = certificate, .tls_cert = certificate, .tls_key = text}),
              HasSubstr("no private key"));
  EXPECT_THAT(ErrorOf({.tls_ca = certificate,
                       .tls_cert = certificate,
                       .tls_key = Write("other.pem", other.key)}),
              HasSubstr("is not the key of the certificate"));
}

TEST_F(CredentialsTest, ATokenLosesItsLineFeed) {
  for (const char* const text : {"s3cret", "s3cret\n", "s3cret\r\n"}) {
    const absl::StatusOr<Credentials> credentials =
        ReadCredentials({.token_file = Write("token", text)}, kHere);
    ASSERT_TRUE(credentials.ok()) << credentials.status();
    EXPECT_EQ(credentials->token, "s3cret");
  }
}

TEST_F(CredentialsTest, TokensThatAreNone) {
  EXPECT_THAT(ErrorOf({.token_file = Write("token", "\n")}),
              AllOf(HasSubstr(folder_ + "/token"), HasSubstr("is empty")));
  EXPECT_THAT(ErrorOf({.token_file = Write("token", std::string(4097, 'a'))}),
              AllOf(HasSubstr("4097 bytes"), HasSubstr("at most 4096")));
  EXPECT_TRUE(ReadCredentials({.token_file = Write("token", std::string(4096, 'a'))}, kHere).ok());
  for (const char* const text : {"a\tb", "a b", "a\nb", "a\x7f", "\xc3\xa9"}) {
    EXPECT_THAT(ErrorOf({.token_file = Write("token", text)}), HasSubstr("visible ASCII")) << text;
  }
  EXPECT_THAT(ErrorOf({.token_file = Write("token", "ab\tc")}),
              AllOf(HasSubstr("byte 2"), HasSubstr("0x09"), testing::Not(HasSubstr("ab"))));
}

TEST_F(CredentialsTest, NoTokenGoesToOthersInTheClear) {
  const std::string token = Write("token", "s3cret");
  for (const char* const server : {kThere, "example.org:1", "127.0.0.1.example.org:1", "[::2]:1"}) {
    EXPECT_THAT(ErrorOf({.token_file = token}, server),
                AllOf(HasSubstr(server), HasSubstr("--token-over-plaintext")))
        << server;
    EXPECT_TRUE(ReadCredentials({.token_file = token, .token_over_plaintext = true}, server).ok());
  }
  for (const char* const server : {kHere, "127.1.2.3:1", "[::1]:1", "localhost:1"}) {
    EXPECT_TRUE(ReadCredentials({.token_file = token}, server).ok()) << server;
  }
  const std::string ca = Write("ca.pem", MakeCertificate().certificate);
  EXPECT_TRUE(ReadCredentials({.tls_ca = ca, .token_file = token}, kThere).ok());
}

TEST_F(CredentialsTest, WarnsOfASecretThatEverybodyMayRead) {
  for (const mode_t mode : {mode_t{0644}, mode_t{0640}}) {
    testing::internal::CaptureStderr();
    EXPECT_TRUE(ReadCredentials({.token_file = Write("token", "s3cret", mode)}, kHere).ok());
    const std::string told = testing::internal::GetCapturedStderr();
    EXPECT_EQ(told.find("every user") != std::string::npos, mode == 0644) << told;
    EXPECT_EQ(told.find("s3cret"), std::string::npos);
  }
}

TEST(HostOfTest, IsWithoutPortAndBrackets) {
  EXPECT_EQ(HostOf("a.example:80"), "a.example");
  EXPECT_EQ(HostOf("[::1]:80"), "::1");
}

}  // namespace
}  // namespace deweather
