#include "server/access/file_watch.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <deque>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "model/base/mutex.h"
#include "model/base/stopwatch.h"
#include "tests/clock_step.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

// What a watch has told, to be waited for.
class Told {
 public:
  FileWatch::OnContents Take() {
    return [this](const FileContents& contents) {
      MutexLock lock(mutex_);
      told_.push_back(contents);
      more_.NotifyAll();
      return contents.front().ok();
    };
  }
  // Waits for the next.
  FileContents Next() {
    MutexLock lock(mutex_);
    while (told_.empty()) more_.Wait(mutex_);
    FileContents contents = told_.front();
    told_.pop_front();
    return contents;
  }
  bool empty() {
    MutexLock lock(mutex_);
    return told_.empty();
  }

 private:
  Mutex mutex_;
  CondVar more_;
  std::deque<FileContents> told_ ABSL_GUARDED_BY(mutex_);
};

class FileWatchTest : public testing::Test {
 protected:
  ~FileWatchTest() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  // In place, as an editor or `cp` would.
  void Write(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name), std::ios::binary | std::ios::trunc) << text;
  }

  const std::string folder_ = NewFolder();
  Told told_;
};

TEST_F(FileWatchTest, ReadsWhatIsAFile) {
  Write("a", "text");
  EXPECT_EQ(ReadWatchedFile(Path("a")).value(), "text");
  Write("largest", std::string(kMaxWatchedBytes, 'x'));
  EXPECT_EQ(ReadWatchedFile(Path("largest")).value().size(), kMaxWatchedBytes);

  Write("too large", std::string(kMaxWatchedBytes + 1, 'x'));
  EXPECT_EQ(ReadWatchedFile(Path("too large")).status().message(),
            "'" + Path("too large") + "' has more than 1048576 bytes");
  EXPECT_EQ(ReadWatchedFile(folder_).status().message(), "'" + folder_ + "' is no file");
  EXPECT_EQ(ReadWatchedFile("/dev/zero").status().message(), "'/dev/zero' is no file");
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(ReadWatchedFile(Path("pipe")).status().message(), "'" + Path("pipe") + "' is no file");
  EXPECT_EQ(ReadWatchedFile(Path("none")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FileWatchTest, TellsOfAChange) {
  Write("a", "1");
  Write("b", "1");
  FileWatch watch({Path("a"), Path("b")}, ReadWatchedFiles({Path("a"), Path("b")}), told_.Take());
  Write("b", "2");
  FileContents contents = told_.Next();
  EXPECT_EQ(contents[0].value(), "1");
  EXPECT_EQ(contents[1].value(), "2");

  std::filesystem::remove(Path("a"));
  contents = told_.Next();
  EXPECT_EQ(contents[0].status().code(), absl::StatusCode::kNotFound);
  Write("a", "1");
  EXPECT_EQ(told_.Next()[0].value(), "1");
}

TEST_F(FileWatchTest, TellsOfWhatChangedBeforeItBegan) {
  Write("a", "2");
  FileWatch watch({Path("a")}, {std::string("1")}, told_.Take());
  EXPECT_EQ(told_.Next()[0].value(), "2");
}

TEST_F(FileWatchTest, WhenAskedItTellsAtOnceWhetherOrNotAnythingDiffers) {
  Write("a", "1");
  FileWatch watch({Path("a")}, ReadWatchedFiles({Path("a")}), told_.Take());
  const absl::Time start = absl::Now();
  for (int i = 0; i < 20; ++i) {
    watch.ReadNow();
    EXPECT_EQ(told_.Next()[0].value(), "1");
  }
  EXPECT_LT(absl::Now() - start, absl::Seconds(5)) << "it waits for its interval";
}

TEST_F(FileWatchTest, OfWhatCannotBeUsedItTellsAgainAndAgain) {
  Write("a", "1");
  FileWatch watch({Path("a")}, ReadWatchedFiles({Path("a")}), told_.Take(), 1);
  std::filesystem::remove(Path("a"));
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(told_.Next()[0].ok());
}

// A file that is written piece by piece looks whole at times: it must not be taken while it changes.
TEST_F(FileWatchTest, DoesNotTellOfAFileThatIsBeingWritten) {
  Write("a", "old");
  std::atomic<bool> writing = true;
  FileWatch watch({Path("a")}, ReadWatchedFiles({Path("a")}), told_.Take());
  std::thread writer([&] {
    const absl::Time end = absl::Now() + absl::Milliseconds(500);
    for (int64_t i = 0; absl::Now() < end; ++i) Write("a", std::to_string(i));
    Write("a", "new");
    writing = false;
  });
  bool early = false;
  while (writing) early = early || !told_.empty();
  writer.join();
  EXPECT_EQ(told_.Next()[0].value(), "new");
  EXPECT_FALSE(early);
}

// A token that is taken away shall not stay because somebody writes on.
TEST_F(FileWatchTest, TellsOfAFileThatKeepsChanging) {
  Write("a", "old");
  std::atomic<bool> stop = false;
  FileWatch watch({Path("a")}, ReadWatchedFiles({Path("a")}), told_.Take());
  std::thread writer([&] {
    const Stopwatch writing;
    for (int64_t i = 0; !stop && writing.elapsed() < absl::Seconds(20); ++i) {
      Write("a", std::to_string(i));
    }
  });
  const Stopwatch waiting;
  EXPECT_NE(told_.Next()[0].value_or(""), "old");
  EXPECT_LT(waiting.elapsed(), absl::Seconds(15)) << "it waits until nobody writes";
  stop = true;
  writer.join();
}

TEST_F(FileWatchTest, TellsOfAChangeWhateverTheClockSays) {
  Write("a", "1");
  FileWatch watch({Path("a")}, ReadWatchedFiles({Path("a")}), told_.Take());
  const StoppedClock stopped;
  const Stopwatch waiting;
  for (const char* const text : {"2", "3"}) {
    Write("a", text);
    EXPECT_EQ(told_.Next()[0].value(), text);
  }
  EXPECT_LT(waiting.elapsed(), absl::Seconds(8)) << "it waits for a time of day";
}

TEST_F(FileWatchTest, EndsWhileAFileKeepsChanging) {
  Write("a", "0");
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int64_t i = 0; !stop; ++i) Write("a", std::to_string(i));
  });
  { FileWatch watch({Path("a")}, {std::string("x")}, told_.Take()); }
  stop = true;
  writer.join();
}

}  // namespace
}  // namespace deweather
