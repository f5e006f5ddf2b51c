#include "server/log/line_writer.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "model/base/stopwatch.h"
#include "tests/clock_step.h"

namespace deweather {
namespace {

using testing::ElementsAre;

constexpr absl::Duration kLong = absl::Seconds(30);

LineWriterOptions Options(size_t max_bytes = 1 << 20) {
  return {.max_bytes = max_bytes,
          .gap = [](int64_t lines) { return absl::StrCat("lost ", lines, "\n"); }};
}

class LineWriterTest : public testing::Test {
 protected:
  LineWriterTest() { EXPECT_EQ(pipe2(ends_.data(), O_CLOEXEC), 0); }
  ~LineWriterTest() override {
    Close(0);
    Close(1);
  }

  void Close(int end) {
    if (ends_[end] >= 0) close(ends_[end]);
    ends_[end] = -1;
  }

  // What comes until the other end is closed, or `last` has come.
  std::string ReadUntil(const std::string& last) {
    std::string text;
    std::array<char, 4096> piece;
    while (last.empty() || !text.ends_with(last)) {
      const ssize_t got = read(ends_[0], piece.data(), piece.size());
      if (got <= 0) break;
      text.append(piece.data(), static_cast<size_t>(got));
    }
    return text;
  }

  // Fills the pipe, so that whoever writes to it waits.
  size_t Fill() {
    fcntl(ends_[1], F_SETFL, O_NONBLOCK);
    size_t bytes = 0;
    while (write(ends_[1], "x", 1) == 1) ++bytes;
    fcntl(ends_[1], F_SETFL, 0);
    return bytes;
  }

  void Skip(size_t bytes) {
    std::string text(bytes, '\0');
    size_t got = 0;
    while (got < bytes) got += static_cast<size_t>(read(ends_[0], text.data(), bytes - got));
  }

  std::array<int, 2> ends_ = {-1, -1};
};

TEST_F(LineWriterTest, LinesKeepTheirOrder) {
  {
    LineWriter writer(ends_[1], Options());
    for (int i = 0; i < 1000; ++i) writer.Write(absl::StrCat(i, "\n"));
    EXPECT_TRUE(writer.Flush(kLong));
  }
  Close(1);
  const std::vector<std::string> lines = absl::StrSplit(ReadUntil(""), '\n');
  ASSERT_EQ(lines.size(), 1001);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(lines[static_cast<size_t>(i)], absl::StrCat(i));
}

TEST_F(LineWriterTest, LinesOfSeveralThreadsAreNotMixed) {
  LineWriter writer(ends_[1], Options());
  std::vector<std::thread> threads;
  for (const char c : {'a', 'b', 'c', 'd'}) {
    threads.emplace_back([&writer, c] {
      for (int i = 0; i < 100; ++i) writer.Write(std::string(99, c) + "\n");
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(writer.Flush(kLong));
  Close(1);
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(ReadUntil(""), '\n'))) {
    EXPECT_TRUE(line.empty() || line == std::string(99, line[0])) << line;
  }
}

TEST_F(LineWriterTest, WhoLogsDoesNotWaitForWhoReads) {
  const size_t before = Fill();
  LineWriter writer(ends_[1], Options(/*max_bytes=*/100));
  writer.Write("first\n");
  EXPECT_FALSE(writer.Flush(absl::ZeroDuration()));
  for (int i = 0; i < 100'000; ++i)
    writer.Write("123456789\n");  // would wait for ever, or grow for ever
  Skip(before);
  ASSERT_TRUE(writer.Flush(kLong));
  writer.Write("last\n");
  const std::string text = ReadUntil("last\n");
  int64_t written = 0;
  int64_t lost = 0;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    written += line == "123456789" ? 1 : 0;
    if (line.starts_with("lost ")) lost += std::stoll(line.substr(5));
  }
  EXPECT_GT(lost, 0);
  EXPECT_EQ(written + lost, 100'000);
}

TEST_F(LineWriterTest, NobodyWaitsLongForALogThatIsNeverRead) {
  Fill();
  const absl::Time start = absl::Now();
  {
    LineWriter writer(ends_[1], Options());
    writer.Write("in vain\n");
  }
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

TEST_F(LineWriterTest, FlushWaitsForItsTimeoutWhateverTheClockSays) {
  const size_t before = Fill();
  LineWriter writer(ends_[1], Options());
  writer.Write("late\n");
  {
    const StoppedClock stopped;
    const Stopwatch watch;
    EXPECT_FALSE(writer.Flush(absl::Milliseconds(50)));
    EXPECT_GE(watch.elapsed(), absl::Milliseconds(50));
    EXPECT_LT(watch.elapsed(), absl::Seconds(8)) << "it waits for a time of day";
  }
  Skip(before);
}

TEST_F(LineWriterTest, APipeThatNobodyHasAnyMoreEndsNothing) {
  Close(0);
  LineWriter writer(ends_[1], Options());
  writer.Write("in vain\n");
  EXPECT_TRUE(writer.Flush(kLong));
}

TEST_F(LineWriterTest, AFileThatDoesNotWaitIsWaitedFor) {
  const size_t before = Fill();
  fcntl(ends_[1], F_SETFL, O_NONBLOCK);
  LineWriter writer(ends_[1], Options());
  writer.Write("late\n");
  Skip(before);
  EXPECT_EQ(ReadUntil("late\n"), "late\n");
}

TEST_F(LineWriterTest, WhatCannotBeWrittenStopsNothing) {
  LineWriter writer(/*file=*/-1, Options());
  writer.Write("nowhere\n");
  EXPECT_TRUE(writer.Flush(kLong));
}

}  // namespace
}  // namespace deweather
