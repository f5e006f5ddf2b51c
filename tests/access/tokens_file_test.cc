#include "server/access/tokens_file.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <deque>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "model/base/file.h"
#include "model/base/mutex.h"
#include "model/base/sha256.h"
#include "server/access/new_token.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

// What is logged, to be waited for.
class Lines final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  // The next warning.
  std::string NextWarning() {
    MutexLock lock(lines_mutex_);
    while (warnings_.empty()) more_.Wait(lines_mutex_);
    std::string line = warnings_.front();
    warnings_.pop_front();
    return line;
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (message.level < spdlog::level::warn) return;
    MutexLock lock(lines_mutex_);
    warnings_.emplace_back(message.payload.data(), message.payload.size());
    more_.NotifyAll();
  }
  void flush_() override {}

 private:
  Mutex lines_mutex_;
  CondVar more_;
  std::deque<std::string> warnings_ ABSL_GUARDED_BY(lines_mutex_);
};

class TokensFileTest : public testing::Test {
 protected:
  TokensFileTest() { spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", log_)); }
  ~TokensFileTest() override {
    spdlog::set_default_logger(previous_);
    std::filesystem::remove_all(folder_);
  }

  void Write(const std::string& text) const { ASSERT_TRUE(WriteFileAtomically(path_, text).ok()); }
  std::unique_ptr<TokensFile> Follow() {
    auto file = std::make_unique<TokensFile>(path_, access_, [this] {
      MutexLock lock(mutex_);
      ++changes_;
      changed_.NotifyAll();
    });
    AwaitChange();
    return file;
  }
  void AwaitChange() {
    MutexLock lock(mutex_);
    while (changes_ == 0) changed_.Wait(mutex_);
    --changes_;
  }
  bool LetsIn(const std::string& token) const {
    return access_.Check({"Bearer " + token}, "deweather.v1.RestorationService", "Restore").ok();
  }

  const std::string folder_ = NewFolder();
  const std::string path_ = folder_ + "/tokens.textproto";
  const std::shared_ptr<spdlog::logger> previous_ = spdlog::default_logger();
  const std::shared_ptr<Lines> log_ = std::make_shared<Lines>();
  Access access_{Tokens{{Sha256Hex("old"), {"camera", kInfer}}}};
  Mutex mutex_;
  CondVar changed_;
  int changes_ ABSL_GUARDED_BY(mutex_) = 0;
};

TEST_F(TokensFileTest, TokensFollowTheFile) {
  Write(TokenEntry("camera", "one"));
  const auto file = Follow();
  EXPECT_TRUE(LetsIn("one"));
  EXPECT_FALSE(LetsIn("old"));
  Write(TokenEntry("camera", "two"));
  AwaitChange();
  EXPECT_TRUE(LetsIn("two"));
  EXPECT_FALSE(LetsIn("one"));
}

TEST_F(TokensFileTest, WhatCannotBeUsedLeavesTheOldOnesAndAWarning) {
  Write(TokenEntry("camera", "one"));
  const auto file = Follow();
  Write("token { name: \"camera\"");
  EXPECT_NE(log_->NextWarning().find(path_ + ":1: "), std::string::npos);
  EXPECT_TRUE(LetsIn("one"));
  while (file->ok()) std::this_thread::yield();
  std::filesystem::remove(path_);
  EXPECT_EQ(
      log_->NextWarning(),
      "cannot open '" + path_ + "': No such file or directory; the tokens that were in use stay");
  EXPECT_TRUE(LetsIn("one"));
  EXPECT_FALSE(file->ok());
  Write(TokenEntry("camera", "two"));
  AwaitChange();
  EXPECT_TRUE(LetsIn("two"));
  while (!file->ok()) std::this_thread::yield();
}

// Somebody gives the token itself, for the file or in it.
TEST_F(TokensFileTest, NoTokenIsInTheLog) {
  const std::string token = *NewToken();
  EXPECT_EQ(LoadTokens(token).status().message(),
            "access.tokens_file looks like a token; it must be a file, of the tokens' hashes");
  Write(TokenEntry("camera", "one"));
  const auto file = Follow();
  Write("token { name: \"a\" sha256: " + token + " }");
  const std::string line = log_->NextWarning();
  EXPECT_NE(line.find(path_ + ":1: "), std::string::npos) << line;
  EXPECT_EQ(line.find(token.substr(0, 8)), std::string::npos) << line;
}

TEST_F(TokensFileTest, AnErrorBeginsWithTheSetting) {
  EXPECT_EQ(LoadTokens(path_).status().message(),
            "access.tokens_file: cannot open '" + path_ + "': No such file or directory");
  Write("token {}");
  EXPECT_EQ(LoadTokens(path_).status().message(),
            "access.tokens_file: " + path_ +
                ":1: token[0].name is ''; it must be 1 to 64 letters, digits, '.', '_' or '-'");
}

}  // namespace
}  // namespace deweather
