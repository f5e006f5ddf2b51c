#include "server/access/certificates.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/access/make_certificate.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kDay = absl::Hours(24);

const IssuedCertificate& Authority() {
  static const auto* const made =
      new IssuedCertificate(MakeCertificate({.name = "authority", .authority = true}));
  return *made;
}

const IssuedCertificate& Good() {
  static const auto* const made = new IssuedCertificate(MakeCertificate({.issuer = &Authority()}));
  return *made;
}

class CertificatesTest : public testing::Test {
 protected:
  void SetUp() override {
    Write("server.pem", Good().certificate);
    Write("server.key", Good().key);
    Write("ca.pem", Authority().certificate);
    tls_ = {Path("server.pem"), Path("server.key"), Path("ca.pem")};
  }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name), std::ios::binary) << text;
  }
  std::string Error() const {
    return std::string(ReadCertificates(tls_, absl::Now()).status().message());
  }
  // As the watch will find it.
  FileContents Contents() const {
    return ReadWatchedFiles({tls_.certificate_file, tls_.key_file, tls_.client_ca_file});
  }

  const std::string folder_ = NewFolder();
  TlsOptions tls_;
};

TEST_F(CertificatesTest, GoodOnesAreRead) {
  const absl::StatusOr<Certificates> read = ReadCertificates(tls_, absl::Now());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->chain, Good().certificate);
  EXPECT_EQ(read->key, Good().key);
  EXPECT_EQ(read->client_ca, Authority().certificate);
}

TEST_F(CertificatesTest, ExpiryIsThatOfTheFirstInTheChain) {
  const absl::Time soon = absl::FromUnixSeconds(absl::ToUnixSeconds(absl::Now()) + 3600);
  const IssuedCertificate between = MakeCertificate(
      {.name = "between", .issuer = &Authority(), .authority = true, .expires = soon});
  const IssuedCertificate own = MakeCertificate({.issuer = &between});
  Write("server.pem", own.certificate + between.certificate);
  Write("server.key", own.key);
  EXPECT_EQ(ReadCertificates(tls_, absl::Now())->expires, soon);
}

TEST_F(CertificatesTest, MistakesNameSettingFileAndWhatIsWrong) {
  const std::string half = Good().certificate.substr(0, Good().certificate.size() / 2);
  const std::string half_key = Good().key.substr(0, Good().key.size() / 2);
  const IssuedCertificate expired = MakeCertificate(
      {.begins = absl::FromUnixSeconds(1577836800), .expires = absl::FromUnixSeconds(1609459200)});
  const IssuedCertificate future = MakeCertificate(
      {.begins = absl::FromUnixSeconds(4102444800), .expires = absl::FromUnixSeconds(4102444900)});
  const IssuedCertificate weak = MakeCertificate({.rsa_bits = 512});
  const IssuedCertificate other = MakeCertificate();
  struct Mistake {
    const char* file;
    std::string text;
    const char* setting;
    const char* why;
  };
  const std::vector<Mistake> mistakes = {
      {"server.pem", "", "tls.certificate_file", "there is no PEM certificate in it"},
      {"server.pem", "word", "tls.certificate_file", "there is no PEM certificate in it"},
      {"server.pem", Good().key, "tls.certificate_file", "there is no PEM certificate in it"},
      {"server.pem", half, "tls.certificate_file", "certificate 1 in it cannot be read"},
      {"server.pem", Good().certificate + half, "tls.certificate_file",
       "certificate 2 in it cannot be read"},
      {"server.pem", expired.certificate, "tls.certificate_file",
       "certificate 1 in it expired on 2021-01-01 00:00:00 UTC"},
      {"server.pem", Good().certificate + expired.certificate, "tls.certificate_file",
       "certificate 2 in it expired on 2021-01-01 00:00:00 UTC"},
      {"server.pem", future.certificate, "tls.certificate_file",
       "certificate 1 in it is not valid before 2100-01-01 00:00:00 UTC"},
      {"server.pem", std::string((1 << 20) + 1, 'x'), "tls.certificate_file",
       "more than 1048576 bytes"},
      {"server.key", "", "tls.key_file", "there is no PEM private key in it"},
      {"server.key", Good().certificate, "tls.key_file", "there is no PEM private key in it"},
      {"server.key", half_key, "tls.key_file", "the key in it cannot be read"},
      {"server.key", EncryptKey(Good().key), "tls.key_file", "the key has a passphrase"},
      {"server.key", other.key, "tls.key_file", "its key is not that of the first certificate"},
      {"ca.pem", "", "tls.client_ca_file", "there is no PEM certificate in it"},
      {"ca.pem", half, "tls.client_ca_file", "certificate 1 in it cannot be read"},
      {"ca.pem", expired.certificate, "tls.client_ca_file", "expired on 2021-01-01"},
  };
  for (const Mistake& mistake : mistakes) {
    SetUp();
    Write(mistake.file, mistake.text);
    EXPECT_THAT(Error(), AllOf(HasSubstr(mistake.setting), HasSubstr(Path(mistake.file)),
                               HasSubstr(mistake.why)));
    EXPECT_THAT(Error(), Not(HasSubstr(Good().key.substr(40, 20)))) << "a secret is told";
  }
  SetUp();
  Write("server.pem", weak.certificate);
  Write("server.key", weak.key);
  EXPECT_THAT(Error(), AllOf(HasSubstr("tls.certificate_file"), HasSubstr("cannot be used")));
}

TEST_F(CertificatesTest, FilesThatCannotBeReadAreNamed) {
  for (const char* name : {"server.pem", "server.key", "ca.pem"}) {
    SetUp();
    std::filesystem::remove(Path(name));
    EXPECT_THAT(Error(), AllOf(HasSubstr(Path(name)), HasSubstr("No such file")));
    std::filesystem::create_directory(Path(name));
    EXPECT_THAT(Error(), AllOf(HasSubstr(Path(name)), HasSubstr("is no file")));
    std::filesystem::remove(Path(name));
  }
}

TEST_F(CertificatesTest, OneOfABundleMayHaveExpired) {
  const IssuedCertificate expired = MakeCertificate(
      {.begins = absl::FromUnixSeconds(0), .expires = absl::FromUnixSeconds(86400)});
  Write("ca.pem", expired.certificate + Authority().certificate);
  EXPECT_TRUE(ReadCertificates(tls_, absl::Now()).ok());
}

TEST_F(CertificatesTest, AKeyThatEverybodyMayReadIsWarnedOf) {
  chmod(Path("server.key").c_str(), 0644);
  EXPECT_THAT(KeyFileWarning(tls_.key_file), AllOf(HasSubstr(tls_.key_file), HasSubstr("644")));
  chmod(Path("server.key").c_str(), 0640);
  EXPECT_EQ(KeyFileWarning(tls_.key_file), "");
}

TEST_F(CertificatesTest, ReloadTakesAWholePair) {
  const auto live = *LiveCertificates::Read(tls_, absl::Now());
  const auto before = live->current();
  live->Take(Contents(), absl::Now());
  EXPECT_EQ(live->current(), before) << "the same files are no news";
  const IssuedCertificate next = MakeCertificate({.issuer = &Authority()});
  Write("server.pem", next.certificate);
  live->Take(Contents(), absl::Now());
  EXPECT_EQ(live->current(), before) << "a certificate without its key";
  Write("server.key", next.key);
  live->Take(Contents(), absl::Now());
  EXPECT_EQ(live->current()->chain, next.certificate);
  EXPECT_EQ(live->current()->key, next.key);
}

TEST_F(CertificatesTest, ReloadLeavesTheOldOnesWhereThereIsNothingBetter) {
  const auto live = *LiveCertificates::Read(tls_, absl::Now());
  const auto before = live->current();
  const IssuedCertificate expired = MakeCertificate({.expires = absl::Now() - absl::Seconds(10)});
  for (const std::string& text :
       {std::string(), Good().certificate.substr(0, 300), expired.certificate}) {
    Write("server.pem", text);
    EXPECT_FALSE(live->Take(Contents(), absl::Now()));
    EXPECT_FALSE(live->ok());
    EXPECT_EQ(live->current(), before);
  }
  std::filesystem::remove(Path("server.pem"));
  EXPECT_FALSE(live->Take(Contents(), absl::Now()));
  EXPECT_EQ(live->current(), before);
  Write("server.pem", Good().certificate);
  EXPECT_TRUE(live->Take(Contents(), absl::Now()));
  EXPECT_TRUE(live->ok());
}

TEST_F(CertificatesTest, OnesInUseMayExpire) {
  const auto live = *LiveCertificates::Read(tls_, absl::Now());
  live->Take(Contents(), absl::Now() + 1000 * kDay);
  EXPECT_EQ(live->current()->chain, Good().certificate);
}

TEST_F(CertificatesTest, TheWatchFindsNewFiles) {
  const auto live = *LiveCertificates::Read(tls_, absl::Now());
  const IssuedCertificate next = MakeCertificate({.issuer = &Authority()});
  Write("server.pem", next.certificate);
  Write("server.key", next.key);
  live->ReadNow();
  const absl::Time end = absl::Now() + absl::Seconds(30);
  while (live->current()->chain != next.certificate && absl::Now() < end) std::this_thread::yield();
  EXPECT_EQ(live->current()->chain, next.certificate);
}

}  // namespace
}  // namespace deweather
