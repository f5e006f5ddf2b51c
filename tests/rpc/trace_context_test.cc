#include "server/rpc/trace_context.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace deweather {
namespace {

constexpr char kTrace[] = "4bf92f3577b34da6a3ce929d0e0e4736";
constexpr char kParent[] = "00f067aa0ba902b7";

TEST(RequestIdTest, PrintableAndNotLong) {
  EXPECT_TRUE(IsRequestId("r"));
  EXPECT_TRUE(IsRequestId("a b-~!"));
  EXPECT_TRUE(IsRequestId(std::string(128, 'x')));
  EXPECT_FALSE(IsRequestId(""));
  EXPECT_FALSE(IsRequestId(std::string(129, 'x')));
  EXPECT_FALSE(IsRequestId("a\nb"));
  EXPECT_FALSE(IsRequestId(std::string("a\0b", 3)));
  EXPECT_FALSE(IsRequestId("\x7f"));
  EXPECT_FALSE(
      IsRequestId("gr\xc3\xb6\xc3\x9f"
                  "e"));
}

TEST(RequestIdTest, NewOnesDiffer) {
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) {
    ids.insert(NewRequestId());
    EXPECT_EQ(ids.begin()->size(), 32u);
    EXPECT_EQ(ids.begin()->find_first_not_of("0123456789abcdef"), std::string::npos);
  }
  EXPECT_EQ(ids.size(), 1000u);
}

TEST(TraceParentTest, IdsOfAWholeOne) {
  for (const std::string flags : {"00", "01", "ff"}) {
    const auto trace = ParseTraceParent(std::string("00-") + kTrace + "-" + kParent + "-" + flags);
    ASSERT_TRUE(trace.has_value()) << flags;
    EXPECT_EQ(trace->trace_id, kTrace);
    EXPECT_EQ(trace->parent_id, kParent);
  }
}

TEST(TraceParentTest, WhatIsMalformedIsNone) {
  const std::string trace = kTrace;
  const std::string parent = kParent;
  for (const std::string& text :
       {std::string(), std::string("00"), "00-" + trace + "-" + parent,
        "00-" + trace + "-" + parent + "-1", "00-" + trace + "-" + parent + "-01-x",
        "00-" + trace + "-" + parent + "-0G", "01-" + trace + "-" + parent + "-01",
        "ff-" + trace + "-" + parent + "-01", "00_" + trace + "-" + parent + "-01",
        "00-" + trace + "_" + parent + "-01", "00-" + trace + "-" + parent + "_01",
        "00-" + std::string(32, '0') + "-" + parent + "-01",
        "00-" + trace + "-" + std::string(16, '0') + "-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" + parent + "-01",
        "00-" + trace.substr(1) + "x-" + parent + "-01", " 00-" + trace + "-" + parent + "-0"}) {
    EXPECT_FALSE(ParseTraceParent(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace deweather
