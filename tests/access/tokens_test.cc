#include "server/access/tokens.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "model/base/sha256.h"

namespace deweather {
namespace {

const std::string kHash(64, 'a');

std::string Entry(const std::string& name, const std::string& sha256, const std::string& groups) {
  return absl::StrCat("token { name: \"", name, "\" sha256: \"", sha256, "\" ", groups, " }\n");
}

std::string Mistake(const std::string& text) {
  const auto tokens = ParseTokens(text, "tokens.textproto");
  EXPECT_EQ(tokens.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(tokens.status().message());
}

TEST(TokensTest, AreFoundByTheirHashes) {
  const auto tokens =
      ParseTokens("# who may call\n" + Entry("camera", kHash, "group: GROUP_INFER") +
                      Entry("lab", std::string(64, 'B'), "group: [GROUP_TRAIN, GROUP_ADMIN]"),
                  "tokens.textproto");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  ASSERT_EQ(tokens->size(), 2U);
  EXPECT_EQ(tokens->at(kHash).name, "camera");
  EXPECT_EQ(tokens->at(kHash).groups, kInfer);
  EXPECT_EQ(tokens->at(std::string(64, 'b')).groups, kTrain | kAdmin);
}

TEST(TokensTest, ANameMayHaveTwo) {
  const auto tokens = ParseTokens(Entry("camera", kHash, "group: GROUP_INFER") +
                                      Entry("camera", std::string(64, 'b'), "group: GROUP_INFER"),
                                  "tokens.textproto");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ(tokens->size(), 2U);
}

TEST(TokensTest, AMistakeIsNamedWithFileLineFieldValueAndLimit) {
  const std::string good = Entry("camera", kHash, "group: GROUP_INFER");
  EXPECT_EQ(Mistake(""), "tokens.textproto: token is missing; there must be at least one");
  EXPECT_EQ(Mistake(good + Entry("lab", std::string(63, 'b'), "group: GROUP_INFER")),
            "tokens.textproto:2: token[1].sha256 has 63 hexadecimal digits; it must have 64");
  EXPECT_EQ(Mistake(Entry("lab", std::string(63, 'b') + "x", "group: GROUP_INFER")),
            "tokens.textproto:1: token[0].sha256 has 64 bytes, of which byte 64 is no hexadecimal "
            "digit; it must be 64 hexadecimal digits");
  EXPECT_EQ(Mistake(good + Entry("lab", kHash, "group: GROUP_TRAIN")),
            absl::StrCat("tokens.textproto:2: token[1].sha256 is '", kHash,
                         "', which 'camera' has already; each token must be listed once"));
  EXPECT_EQ(Mistake("\n" + Entry("lab", kHash, "")),
            "tokens.textproto:2: token[0].group is empty, of the token of 'lab'; it must have "
            "GROUP_INFER, GROUP_TRAIN or GROUP_ADMIN");
  EXPECT_EQ(Mistake(Entry("lab", kHash, "group: GROUP_UNSPECIFIED")),
            "tokens.textproto:1: token[0].group[0] is 0; it must be GROUP_INFER, GROUP_TRAIN or "
            "GROUP_ADMIN");
  EXPECT_EQ(Mistake(Entry("a b", kHash, "group: GROUP_INFER")),
            "tokens.textproto:1: token[0].name is 'a b'; it must be 1 to 64 letters, digits, '.', "
            "'_' or '-'");
  EXPECT_EQ(Mistake(Entry("", kHash, "group: GROUP_INFER")),
            "tokens.textproto:1: token[0].name is ''; it must be 1 to 64 letters, digits, '.', "
            "'_' or '-'");
}

TEST(TokensTest, WhatTheFormatDoesNotKnowIsAMistake) {
  EXPECT_EQ(Mistake("\n" + Entry("lab", kHash, "group: GROUP_ROOT")),
            "tokens.textproto:2: there is no such value; token.group takes one of GROUP_INFER, "
            "GROUP_TRAIN, GROUP_ADMIN");
  EXPECT_NE(Mistake(Entry("lab", kHash, "group: 7")).find("7"), std::string::npos);
  EXPECT_EQ(Mistake("token { naem: \"lab\" }"),
            "tokens.textproto:1: there is no such field; it has name, sha256, group");
  EXPECT_NE(Mistake("token { name: \"lab\"").find("tokens.textproto:1"), std::string::npos);
}

// Somebody writes the token where its hash belongs, or anywhere else.
TEST(TokensTest, NoTokenIsShownInAMistake) {
  for (const std::string& token : {std::string("K7gNU3sdo-OL0wNhqoVWhr3g6s1xYv72ol_pe_Unols"),
                                   std::string("AZVTcrlK7gNUsdo0OL0wNhqoVWhr3g6s1xYv72olH18"),
                                   std::string("0123456789012345678901234567890123456789abc")}) {
    for (const std::string& text : {Entry("lab", token, "group: GROUP_INFER"),
                                    Entry("lab", token + "=", "group: GROUP_INFER"),
                                    Entry(token, kHash, "group: GROUP_INFER"),
                                    Entry(token, kHash, ""),
                                    Entry("Bearer " + token, kHash, "group: GROUP_INFER"),
                                    Entry(token + "\\x00", kHash, "group: GROUP_INFER"),
                                    Entry("lab", token + "\\xff", "group: GROUP_INFER"),
                                    Entry("lab", token + "\xff", "group: GROUP_INFER"),
                                    "token { name: \"a\" sha256: " + token + " }",
                                    "token { name: " + token + " }",
                                    "token { name: \"a\" group: " + token + " }",
                                    "token: \"" + token + "\"",
                                    "token { name: \"a\" group: \"" + token + "\" }",
                                    "token { " + token + ": 1 }",
                                    "token { name: \"a\" " + token,
                                    token,
                                    "north-camera " + token,
                                    "Bearer " + token,
                                    "north-camera: " + token,
                                    "north_camera " + token,
                                    "\"" + token + "\"",
                                    "[" + token + "]: 1",
                                    "'" + token,
                                    "token { name: '" + token + "\n' }"}) {
      const std::string mistake = Mistake(text);
      for (size_t i = 0; i + 8 <= token.size(); ++i) {
        ASSERT_EQ(mistake.find(token.substr(i, 8)), std::string::npos) << mistake;
      }
      EXPECT_EQ(mistake.find("tokens.textproto:1: "), 0U) << mistake;
    }
  }
}

TEST(TokensTest, AMistakeWithoutItsWordsSaysWhatTheFieldTakes) {
  EXPECT_EQ(Mistake("token {\n  name: \"a\"\n  sha256: abc\n}"),
            "tokens.textproto:3: Expected string; token.sha256 takes a quoted string");
  EXPECT_EQ(Mistake("north_camera abc"),
            "tokens.textproto:1: there is no such field; it has token");
}

TEST(TokensTest, ATokenIsNoName) {
  const std::string most(42, 'x');
  EXPECT_TRUE(CheckTokenName(most).ok());
  EXPECT_TRUE(CheckTokenName(most + ".x").ok());
  EXPECT_EQ(CheckTokenName(most + "_").message(),
            "looks like a token, which must not be in the log; it must have fewer than 43 letters, "
            "digits, '_' and '-' on end");
  EXPECT_EQ(CheckTokenName("a." + most + "-").code(), absl::StatusCode::kInvalidArgument);
}

TEST(TokensTest, GroupsAreNamed) {
  EXPECT_EQ(NamesOf(kAnyGroup), "infer, train, admin");
  EXPECT_EQ(NamesOf(kTrain), "train");
}

TEST(TokensTest, AMethodThatIsNotKnownIsNobodys) {
  EXPECT_EQ(GroupsOf("deweather.v1.ModelService", "ListModels"), kAnyGroup);
  EXPECT_EQ(GroupsOf("deweather.v1.ModelService", "PromoteModel"), kAdmin);
  EXPECT_EQ(GroupsOf("deweather.v1.ModelService", "Promote"), std::nullopt);
  EXPECT_EQ(GroupsOf("deweather.v2.ModelService", "ListModels"), std::nullopt);
}

}  // namespace
}  // namespace deweather
