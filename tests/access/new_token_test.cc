#include "server/access/new_token.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"
#include "model/base/sha256.h"
#include "server/access/tokens.h"

namespace deweather {
namespace {

TEST(NewTokenTest, Has32BytesAndIsNewEachTime) {
  const std::string token = NewToken().value();
  std::string bytes;
  ASSERT_TRUE(absl::WebSafeBase64Unescape(token, &bytes));
  EXPECT_EQ(bytes.size(), 32U);
  EXPECT_EQ(token.find_first_of("+/= \n"), std::string::npos) << "no header takes it as it is";
  EXPECT_NE(token, NewToken().value());
}

TEST(NewTokenTest, ItsEntryIsOneOfATokensFile) {
  const std::string token = NewToken().value();
  const std::string entry = TokenEntry("north-camera", token);
  EXPECT_EQ(entry.find(token), std::string::npos);
  const auto tokens = ParseTokens(entry, "tokens.textproto");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->at(Sha256Hex(token)).name, "north-camera");
}

}  // namespace
}  // namespace deweather
