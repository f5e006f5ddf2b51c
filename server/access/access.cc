#include "server/access/access.h"

#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "model/base/error_reason.h"
#include "model/base/sha256.h"
#include "model/base/status_macros.h"

namespace deweather {
namespace {

constexpr std::string_view kScheme = "bearer ";

absl::Status Missing(std::string message) {
  return WithReason(absl::UnauthenticatedError(message), "TOKEN_MISSING");
}

absl::StatusOr<std::string_view> BearerToken(const std::vector<std::string_view>& authorization) {
  if (authorization.empty()) {
    return Missing("no token has come; this server wants the header 'authorization: Bearer TOKEN'");
  }
  if (authorization.size() > 1) {
    return Missing(absl::StrFormat("%d 'authorization' headers have come; there must be one",
                                   authorization.size()));
  }
  const std::string_view value = authorization.front();
  if (value.size() <= kScheme.size() ||
      !absl::StartsWithIgnoreCase({value.data(), value.size()}, {kScheme.data(), kScheme.size()})) {
    return Missing("the header 'authorization' is not 'Bearer TOKEN'");
  }
  return value.substr(kScheme.size());
}

// Of the token that came.
absl::StatusOr<std::string> HashOf(const std::vector<std::string_view>& authorization) {
  DW_ASSIGN_OR_RETURN(const std::string_view token, BearerToken(authorization));
  return Sha256Hex(token);
}

absl::Status CheckGroup(const Token& token, std::string_view service, std::string_view method) {
  const std::optional<Groups> needed = GroupsOf(service, method);
  if (needed.has_value() && (token.groups & *needed) != 0) return absl::OkStatus();
  return WithReason(
      absl::PermissionDeniedError(absl::StrFormat(
          "token '%s' is in %s; %s/%s needs %s", token.name, NamesOf(token.groups), service, method,
          needed.has_value() ? NamesOf(*needed) : "one that nobody has")),
      "WRONG_GROUP");
}

}  // namespace

Access::Access(Tokens tokens) : tokens_(std::make_shared<const Tokens>(std::move(tokens))) {}

void Access::Replace(Tokens tokens) {
  auto replacement = std::make_shared<const Tokens>(std::move(tokens));
  MutexLock lock(mutex_);
  tokens_ = std::move(replacement);
}

absl::StatusOr<Token> Access::Find(const std::string& sha256) const {
  std::shared_ptr<const Tokens> tokens;
  {
    MutexLock lock(mutex_);
    tokens = tokens_;
  }
  const auto found = tokens->find(sha256);
  if (found != tokens->end()) return found->second;
  return WithReason(absl::UnauthenticatedError("the token is none of this server's"),
                    "TOKEN_UNKNOWN");
}

absl::StatusOr<Grant> Access::Check(const std::vector<std::string_view>& authorization,
                                    std::string_view service, std::string_view method) const {
  DW_ASSIGN_OR_RETURN(std::string sha256, HashOf(authorization));
  DW_ASSIGN_OR_RETURN(Token token, Find(sha256));
  DW_RETURN_IF_ERROR(CheckGroup(token, service, method));
  return Grant{std::move(token.name), std::move(sha256)};
}

absl::Status Access::CheckAgain(const Grant& grant, std::string_view service,
                                std::string_view method) const {
  DW_ASSIGN_OR_RETURN(const Token token, Find(grant.sha256));
  return CheckGroup(token, service, method);
}

absl::Status Access::CheckAnyToken(const std::vector<std::string_view>& authorization) const {
  DW_ASSIGN_OR_RETURN(const std::string sha256, HashOf(authorization));
  return Find(sha256).status();
}

absl::Status CheckRule(AccessRule rule, const Access* access,
                       const std::vector<std::string_view>& authorization) {
  switch (rule) {
    case AccessRule::kAnyone:
      return absl::OkStatus();
    case AccessRule::kToken:
      return access == nullptr ? absl::OkStatus() : access->CheckAnyToken(authorization);
    case AccessRule::kNobody:
      break;
  }
  return WithReason(absl::UnimplementedError("this server does not offer it"), "NOT_SERVED");
}

}  // namespace deweather
