// The tokens of a server as they are in its file at any time.
// What cannot be used leaves the tokens that were in use, and a line in the log each minute.

#ifndef DEWEATHER_SERVER_ACCESS_TOKENS_FILE_H_
#define DEWEATHER_SERVER_ACCESS_TOKENS_FILE_H_

#include <atomic>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "server/access/access.h"
#include "server/access/file_watch.h"
#include "server/access/tokens.h"

namespace deweather {

// Reads them once. An error's message begins with the setting.
absl::StatusOr<Tokens> LoadTokens(const std::string& path);

// Owns     its thread
// Threads  thread-safe, but for the destructor
class TokensFile {
 public:
  // `access` has the tokens of `path` from now on, and must outlive the result; `on_change` is called after
  // each time that they were replaced, on a thread of its own.
  TokensFile(std::string path, Access& access, std::function<void()> on_change);

  // Now, whether or not it has changed.
  void ReadNow() { watch_.ReadNow(); }

  // Whether what is in the file is in use, or is about to be.
  bool ok() const { return ok_; }

 private:
  bool Take(const absl::StatusOr<std::string>& text);

  const std::string path_;
  Access& access_;
  const std::function<void()> on_change_;
  std::atomic<bool> ok_ = true;
  FileWatch watch_;  // last: it uses all of the above
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_ACCESS_TOKENS_FILE_H_
