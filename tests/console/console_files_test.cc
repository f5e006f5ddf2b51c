// The console's files inside the program: all are there, each of its own type, none asks for another host.

#include "server/http/console_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

namespace deweather {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string FileOfTree(const std::string& name) {
  std::ifstream file(std::string(DW_SOURCE_DIR) + "/server/http/console/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(ConsoleFilesTest, ThePageIsTheRoot) {
  const ConsoleFile* const page = FindConsoleFile("/");
  ASSERT_NE(page, nullptr);
  EXPECT_EQ(page->content_type, "text/html; charset=utf-8");
  EXPECT_EQ(page->body, FileOfTree("index.html"));
}

TEST(ConsoleFilesTest, OnlyWhatIsListedIsFound) {
  for (const char* path : {"", "/index.html", "/console", "/console/", "/console/../main.js",
                           "/console/main.js?x", "//", "/console/nothing.js"}) {
    EXPECT_EQ(FindConsoleFile(path), nullptr) << path;
  }
}

TEST(ConsoleFilesTest, EachFileIsWhatTheTreeHasAndHasATagOfItsOwn) {
  std::set<std::string_view> tags;
  for (const ConsoleFile& file : ConsoleFiles()) {
    EXPECT_EQ(FindConsoleFile(file.path), &file);
    EXPECT_TRUE(tags.insert(file.etag).second) << file.path;
    EXPECT_TRUE(std::regex_match(std::string(file.etag), std::regex("\"[0-9a-f]{16}\"")));
    if (file.path == "/") continue;
    EXPECT_EQ(file.body, FileOfTree(std::string(file.path.substr(strlen("/console/")))))
        << file.path;
  }
  EXPECT_GT(tags.size(), 10u);
}

// Whatever a file imports or links to is inside the program too.
TEST(ConsoleFilesTest, NothingLeadsOut) {
  const std::regex import("(?:from|import) '\\./([a-z0-9_]+\\.js)'");
  const std::regex link("(?:src|href)=\"([^#\"][^\"]*)\"");
  for (const ConsoleFile& file : ConsoleFiles()) {
    const std::string body(file.body);
    for (std::sregex_iterator at(body.begin(), body.end(), import), end; at != end; ++at) {
      EXPECT_NE(FindConsoleFile("/console/" + (*at)[1].str()), nullptr) << (*at)[0];
    }
    if (file.path != "/") continue;
    for (std::sregex_iterator at(body.begin(), body.end(), link), end; at != end; ++at) {
      EXPECT_NE(FindConsoleFile((*at)[1].str()), nullptr) << (*at)[0];
    }
    EXPECT_THAT(body, Not(HasSubstr("style=\"")));
  }
}

TEST(ConsoleFilesTest, ThePolicyAllowsNothingInline) {
  EXPECT_THAT(std::string(kConsolePolicy), HasSubstr("default-src 'none'"));
  EXPECT_THAT(std::string(kConsolePolicy), Not(HasSubstr("unsafe")));
}

}  // namespace
}  // namespace deweather
