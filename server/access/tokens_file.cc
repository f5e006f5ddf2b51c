#include "server/access/tokens_file.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace deweather {

absl::StatusOr<Tokens> LoadTokens(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadWatchedFile(path);
  if (!text.ok() && LooksLikeToken(path)) {
    return absl::InvalidArgumentError(
        "access.tokens_file looks like a token; it must be a file, of the tokens' hashes");
  }
  absl::StatusOr<Tokens> tokens = text.ok() ? ParseTokens(*text, path) : text.status();
  if (tokens.ok()) return tokens;
  return absl::Status(tokens.status().code(),
                      absl::StrCat("access.tokens_file: ", tokens.status().message()));
}

// Nothing counts as read before: the file may have changed since `access` was made.
TokensFile::TokensFile(std::string path, Access& access, std::function<void()> on_change)
    : path_(std::move(path)),
      access_(access),
      on_change_(std::move(on_change)),
      watch_({path_}, {},
             [this](const FileContents& contents) { return ok_ = Take(contents.front()); }) {}

bool TokensFile::Take(const absl::StatusOr<std::string>& text) {
  absl::StatusOr<Tokens> tokens = text.ok() ? ParseTokens(*text, path_) : text.status();
  if (!tokens.ok()) {
    spdlog::warn("{}; the tokens that were in use stay", std::string(tokens.status().message()));
    return false;
  }
  spdlog::info("{} tokens of {} are in use", tokens->size(), path_);
  access_.Replace(*std::move(tokens));
  on_change_();
  return true;
}

}  // namespace deweather
