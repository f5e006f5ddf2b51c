#include "server/access/access.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "model/base/error_reason.h"
#include "model/base/sha256.h"

namespace deweather {
namespace {

constexpr char kRestoration[] = "deweather.v1.RestorationService";
constexpr char kModel[] = "deweather.v1.ModelService";

Tokens TwoTokens() {
  return {{Sha256Hex("open sesame"), {"camera", kInfer}},
          {Sha256Hex("let me in"), {"lab", kTrain | kAdmin}}};
}

void ExpectRefused(const absl::Status& status, absl::StatusCode code, const std::string& reason) {
  EXPECT_EQ(status.code(), code) << status;
  EXPECT_EQ(ErrorReason(status), reason) << status;
  EXPECT_EQ(status.message().find("sesame"), std::string::npos) << status;
}

TEST(AccessTest, ATokenOfTheGroupIsLetIn) {
  const Access access(TwoTokens());
  const auto grant = access.Check({"Bearer open sesame"}, kRestoration, "Restore");
  ASSERT_TRUE(grant.ok()) << grant.status();
  EXPECT_EQ(grant->name, "camera");
  EXPECT_TRUE(access.Check({"bEARER let me in"}, kModel, "PromoteModel").ok());
  EXPECT_TRUE(access.Check({"Bearer open sesame"}, kModel, "ListModels").ok());
}

TEST(AccessTest, WhatIsNoTokenIsUnauthenticated) {
  const Access access(TwoTokens());
  const std::vector<std::vector<std::string_view>> missing = {
      {},
      {""},
      {"Bearer"},
      {"Bearer "},
      {"open sesame"},
      {"Basic open sesame"},
      {"Bearer open sesame", "Bearer open sesame"}};
  for (const auto& authorization : missing) {
    ExpectRefused(access.Check(authorization, kRestoration, "Restore").status(),
                  absl::StatusCode::kUnauthenticated, "TOKEN_MISSING");
  }
  const std::vector<std::string_view> unknown = {"Bearer open sesame ", "Bearer  open sesame",
                                                 "Bearer Open sesame", "Bearer x"};
  for (const std::string_view authorization : unknown) {
    ExpectRefused(access.Check({authorization}, kRestoration, "Restore").status(),
                  absl::StatusCode::kUnauthenticated, "TOKEN_UNKNOWN");
  }
  // A hash is no token.
  const std::string hash = "Bearer " + Sha256Hex("open sesame");
  ExpectRefused(access.Check({hash}, kRestoration, "Restore").status(),
                absl::StatusCode::kUnauthenticated, "TOKEN_UNKNOWN");
}

TEST(AccessTest, AGroupDoesNotImplyAnother) {
  const Access access(TwoTokens());
  const absl::Status status = access.Check({"Bearer let me in"}, kRestoration, "Restore").status();
  ExpectRefused(status, absl::StatusCode::kPermissionDenied, "WRONG_GROUP");
  EXPECT_EQ(status.message(),
            "token 'lab' is in train, admin; deweather.v1.RestorationService/Restore needs infer");
  ExpectRefused(access.Check({"Bearer open sesame"}, kModel, "PromoteModel").status(),
                absl::StatusCode::kPermissionDenied, "WRONG_GROUP");
}

TEST(AccessTest, AMethodThatNobodyKnowsIsNobodys) {
  const Access access(Tokens{{Sha256Hex("all"), {"root", kAnyGroup}}});
  ExpectRefused(access.Check({"Bearer all"}, kModel, "NewMethod").status(),
                absl::StatusCode::kPermissionDenied, "WRONG_GROUP");
}

TEST(AccessTest, AGrantEndsWithItsToken) {
  Access access(TwoTokens());
  const Grant grant = access.Check({"Bearer open sesame"}, kRestoration, "Restore").value();
  Tokens rest = TwoTokens();
  rest.erase(grant.sha256);
  rest.emplace(Sha256Hex("new"), Token{"camera", kInfer});
  EXPECT_TRUE(access.CheckAgain(grant, kRestoration, "Restore").ok());
  access.Replace(rest);
  ExpectRefused(access.CheckAgain(grant, kRestoration, "Restore"),
                absl::StatusCode::kUnauthenticated, "TOKEN_UNKNOWN");
  EXPECT_TRUE(access.Check({"Bearer new"}, kRestoration, "Restore").ok());

  rest.emplace(grant.sha256, Token{"camera", kTrain});
  access.Replace(rest);
  ExpectRefused(access.CheckAgain(grant, kRestoration, "Restore"),
                absl::StatusCode::kPermissionDenied, "WRONG_GROUP");
}

TEST(AccessTest, RulesStandInForGroups) {
  const Access access(TwoTokens());
  EXPECT_TRUE(CheckRule(AccessRule::kAnyone, &access, {}).ok());
  EXPECT_TRUE(CheckRule(AccessRule::kToken, nullptr, {}).ok());
  EXPECT_TRUE(CheckRule(AccessRule::kToken, &access, {"Bearer let me in"}).ok());
  ExpectRefused(CheckRule(AccessRule::kToken, &access, {}), absl::StatusCode::kUnauthenticated,
                "TOKEN_MISSING");
  ExpectRefused(CheckRule(AccessRule::kToken, &access, {"Bearer x"}),
                absl::StatusCode::kUnauthenticated, "TOKEN_UNKNOWN");
  ExpectRefused(CheckRule(AccessRule::kNobody, &access, {"Bearer let me in"}),
                absl::StatusCode::kUnimplemented, "NOT_SERVED");
  ExpectRefused(CheckRule(AccessRule::kNobody, nullptr, {}), absl::StatusCode::kUnimplemented,
                "NOT_SERVED");
}

}  // namespace
}  // namespace deweather
