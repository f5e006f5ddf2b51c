#include <deweather/options.h>
#include <sys/stat.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/client_cpp/fake_services.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

Error Refused(const ClientOptions& options) {
  return ErrorOf([&] { Client client(options); });
}

TEST(ClientOptionsTest, AnAddressThatIsNone) {
  ClientOptions options;
  options.server = "somewhere";
  const Error error = Refused(options);
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message(), HasSubstr("'somewhere' is no HOST:PORT"));
  EXPECT_EQ(error.request_id(), "");
}

TEST(ClientOptionsTest, ADeadlineThatIsNone) {
  ClientOptions options;
  options.deadline = std::chrono::milliseconds(0);
  EXPECT_THAT(Refused(options).message(), HasSubstr("deadline is 0 ms; it must be above 0"));
}

TEST(ClientOptionsTest, ATokenDoesNotCrossANetworkInTheClear) {
  ClientOptions options;
  options.server = "192.0.2.1:50051";
  options.token = "secret";
  const Error error = Refused(options);
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_THAT(error.message(), AllOf(HasSubstr("token: the token would go to 192.0.2.1:50051"),
                                     HasSubstr("tls or tls_ca_file encrypts"),
                                     HasSubstr("token_over_plaintext allows it"),
                                     Not(HasSubstr("--")), Not(HasSubstr("secret"))));
  options.token_over_plaintext = true;
  Client client(options);
}

TEST(ClientOptionsTest, ErrorsNameOptionsAndNoFlags) {
  ClientOptions options;
  options.tls_ca_file = "/nonexistent/ca";
  EXPECT_THAT(Refused(options).message(),
              AllOf(HasSubstr("tls_ca_file: cannot open '/nonexistent/ca'"), Not(HasSubstr("--"))));
  options = {};
  options.tls = true;
  options.tls_cert_file = "/nonexistent/cert";
  EXPECT_THAT(Refused(options).message(),
              AllOf(HasSubstr("tls_cert_file: needs tls_key_file"), Not(HasSubstr("--"))));
  options = {};
  options.token = "a b";
  EXPECT_THAT(Refused(options).message(), HasSubstr("token: byte 1 of the token is 0x20"));
  options.token_file = "/nonexistent/token";
  EXPECT_THAT(Refused(options).message(), HasSubstr("token: is given beside token_file"));
}

TEST(ClientOptionsTest, NoticesGoToTheProgramAndNowhereElse) {
  const std::string file = NewFolder() + "/token";
  std::ofstream(file) << "secret\n";
  ASSERT_EQ(chmod(file.c_str(), 0644), 0);
  ClientOptions options;
  options.token_file = file;
  std::vector<std::string> lines;
  options.on_notice = [&](const std::string& line) { lines.push_back(line); };
  testing::internal::CaptureStderr();
  Client client(options);
  options.on_notice = nullptr;
  Client silent(options);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_THAT(lines[0], AllOf(HasSubstr("warning: token_file: every user"), HasSubstr(file)));
}

TEST_F(ClientTest, Health) {
  EXPECT_EQ(client_->CheckHealth(), Health::kServing);
  EXPECT_EQ(client_->CheckHealth("other"), Health::kServiceUnknown);
}

TEST_F(ClientTest, MovedItStaysTheSameClient) {
  Client moved = *std::move(client_);
  EXPECT_EQ(moved.CheckHealth(), Health::kServing);
}

TEST_F(ClientTest, ARequestIdThatNoHeaderHolds) {
  CallOptions call;
  call.request_id = "a b";
  EXPECT_THAT(ErrorOf([&] { client_->CheckHealth("", call); }).message(),
              HasSubstr("request_id has 3 bytes; it must have 1 to 128 visible"));
}

TEST_F(ClientTest, AServerThatIsAwaySaysWhatWasSeen) {
  server_->Shutdown();
  server_.reset();
  options_.deadline = std::chrono::seconds(2);
  options_.retries = false;
  const Error error = ErrorOf([&] { Client(options_).CheckHealth(); });
  EXPECT_EQ(error.code(), ErrorCode::kUnavailable);
  EXPECT_THAT(error.message(), HasSubstr("cannot connect to " + options_.server));
  EXPECT_EQ(error.request_id().size(), 32U);
}

}  // namespace
}  // namespace deweather
