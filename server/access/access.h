// Who may call what: callers show a token, `authorization: Bearer TOKEN`.
// A token is looked up by its hash: how long that takes tells nothing of the tokens that there are.
//
// Threads  thread-safe
// Errors   UNAUTHENTICATED TOKEN_MISSING no token has come, or not as it must; TOKEN_UNKNOWN; PERMISSION_DENIED
//          WRONG_GROUP; UNIMPLEMENTED NOT_SERVED nobody may call it. No error shows a token

#ifndef DEWEATHER_SERVER_ACCESS_ACCESS_H_
#define DEWEATHER_SERVER_ACCESS_ACCESS_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/base/mutex.h"
#include "model/base/server_options.h"
#include "server/access/tokens.h"

namespace deweather {

// A token that may do what it was asked for.
struct Grant {
  std::string name;
  std::string sha256;
};

class Access {
 public:
  explicit Access(Tokens tokens);

  // From now on these are the tokens, and no others.
  void Replace(Tokens tokens);

  // `authorization` are the values of a call's headers of that name.
  absl::StatusOr<Grant> Check(const std::vector<std::string_view>& authorization,
                              std::string_view service, std::string_view method) const;

  // Whether a call that was let in by `grant` would be let in now.
  absl::Status CheckAgain(const Grant& grant, std::string_view service,
                          std::string_view method) const;

  // Whether any token has come, for what needs no group.
  absl::Status CheckAnyToken(const std::vector<std::string_view>& authorization) const;

 private:
  absl::StatusOr<Token> Find(const std::string& sha256) const;

  mutable Mutex mutex_;
  std::shared_ptr<const Tokens> tokens_ ABSL_GUARDED_BY(mutex_);
};

// By a rule instead of a group. `access` is null where there are no tokens.
absl::Status CheckRule(AccessRule rule, const Access* access,
                       const std::vector<std::string_view>& authorization);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_ACCESS_ACCESS_H_
