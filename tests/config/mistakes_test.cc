// Every mistake that a server's configuration can hold: what is said of it names file, line, field, value and
// limit, as far as there are such.

#include <google/protobuf/duration.pb.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdint>
#include <fstream>
#include <limits>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "deweather/v1/server_config.pb.h"
#include "proto/config/config.h"
#include "tests/new_folder.h"

namespace deweather {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::FieldDescriptor;

std::string ErrorOf(const std::string& text) {
  return std::string(ParseServerConfig(text, "s.textproto").status().message());
}

// "a.b" and "3": "a {\nb: 3\n}"; a name without a message stands on line 2 too.
std::string Setting(const std::string& path, const std::string& value) {
  const std::vector<std::string> names = absl::StrSplit(path, '.');
  if (names.size() == 1) return absl::StrCat("\n", path, ": ", value);
  return absl::StrCat(names[0], " {\n", names[1], ": ", value, "\n}");
}

void ExpectSaid(const std::string& error, const std::string& pattern) {
  EXPECT_TRUE(std::regex_match(error, std::regex(pattern)))
      << "said:     " << error << "\nexpected: " << pattern;
}

// --- bounds ---

struct Bound {
  std::string field;
  int64_t low;
  int64_t high;
  bool or_zero = false;
};

constexpr int64_t kMebibyte = int64_t{1} << 20;
constexpr int64_t kGibibyte = int64_t{1} << 30;
constexpr int64_t kTebibyte = int64_t{1} << 40;

std::vector<Bound> NumberBounds() {
  return {{"threads.model", 0, 1024},
          {"threads.workers", 0, 1024},
          {"limits.max_image_pixels", 1, 2'000'000'000},
          {"limits.max_receive_bytes", 1024, 2147483647},
          {"limits.max_send_bytes", 1024, 2147483647},
          {"limits.max_concurrent_streams", 1, 65536},
          {"limits.max_transport_bytes", 64 * kMebibyte, kTebibyte},
          {"limits.max_large_bytes", 1024, 64 * kGibibyte},
          {"limits.max_model_bytes", kMebibyte, kTebibyte},
          {"limits.max_connections", 1, 1'000'000},
          {"limits.max_header_bytes", 1024, kMebibyte},
          {"admission.max_bytes", kMebibyte, kTebibyte},
          {"admission.max_tiles", 1, 1048576},
          {"admission.max_caller_percent", 1, 100},
          {"batching.max_tiles", 1, 256},
          {"batching.window_tiles", 1, 4096},
          {"training.max_running", 0, 64},
          {"training.max_queued", 1, 1'000'000},
          {"training.max_failures", 1, 1000},
          {"training.niceness", 0, 19},
          {"training.threads", 0, 1024},
          {"training.max_memory_bytes", 64 * kMebibyte, kTebibyte, true},
          {"training.max_log_bytes", 4096, kGibibyte},
          {"training.max_disk_bytes", kMebibyte, 1000 * kTebibyte},
          {"training.min_free_bytes", 0, kTebibyte},
          {"training.keep_versions", 0, 1'000'000},
          {"datasets.max_bytes", 0, 1000 * kTebibyte},
          {"datasets.max_files", 1, 10'000'000},
          {"datasets.max_file_bytes", 1024, 2147483647},
          {"datasets.min_free_bytes", 0, kTebibyte},
          {"promotion.max_regression_db", 0, 100},
          {"log.max_requests_per_second", 0, 1'000'000}};
}

// In seconds.
std::vector<Bound> DurationBounds() {
  return {{"limits.max_stream_idle", 1, 3600},
          {"limits.max_handshake", 1, 120},
          {"limits.max_connection_age", 0, 604800},
          {"limits.max_connection_grace", 1, 86400},
          {"limits.max_connection_idle", 0, 604800},
          {"drain.delay", 0, 3600},
          {"drain.timeout", 0, 3600},
          {"batching.max_delay", 0, 1},
          {"batching.max_batch_time", 1, 86400, true},
          {"training.first_retry", 0, 600},
          {"training.stop_grace", 0, 3600},
          {"promotion.timeout", 1, 86400}};
}

std::string Shown(int64_t seconds) {
  return seconds == 0 ? "0s" : absl::FormatDuration(absl::Seconds(seconds));
}

std::string Pattern(const Bound& bound, const std::string& value, const std::string& low,
                    const std::string& high) {
  return absl::StrCat("s\\.textproto:2: ", bound.field, " is ", value, "; it must be in \\[", low,
                      ", ", high, "\\]", bound.or_zero ? ", or 0" : "");
}

TEST(MistakesTest, NumbersBeyondTheirBounds) {
  for (const Bound& bound : NumberBounds()) {
    for (const int64_t within : {bound.low, bound.high}) {
      EXPECT_EQ(ErrorOf(Setting(bound.field, absl::StrCat(within))), "") << bound.field;
    }
    for (const int64_t beyond : {bound.low - 1, bound.high + 1}) {
      if (bound.or_zero && beyond == 0) continue;
      const std::string value = absl::StrCat(beyond);
      ExpectSaid(ErrorOf(Setting(bound.field, value)),
                 Pattern(bound, value, absl::StrCat(bound.low), absl::StrCat(bound.high)));
    }
  }
}

TEST(MistakesTest, DurationsBeyondTheirBounds) {
  for (const Bound& bound : DurationBounds()) {
    for (const int64_t within : {bound.low, bound.high}) {
      const std::string value = absl::StrCat("{ seconds: ", within, " }");
      EXPECT_EQ(ErrorOf(Setting(bound.field, value)), "") << bound.field;
    }
    const std::string low = Shown(bound.low), high = Shown(bound.high);
    ExpectSaid(ErrorOf(Setting(bound.field, absl::StrCat("{ seconds: ", bound.high + 1, " }"))),
               Pattern(bound, Shown(bound.high + 1), low, high));
    ExpectSaid(ErrorOf(Setting(bound.field, "{ nanos: -1 }")), Pattern(bound, "-1ns", low, high));
    if (bound.low == 0) continue;
    ExpectSaid(ErrorOf(Setting(bound.field, "{ nanos: 999999999 }")),
               Pattern(bound, "999\\.999999ms", low, high));
  }
}

// Numbers and durations of the schema, by path. max_time alone has no upper bound.
void AddBounded(const Descriptor& type, const std::string& prefix, std::set<std::string>& fields) {
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const std::string path = prefix + field.name();
    const bool is_duration = field.message_type() == google::protobuf::Duration::descriptor();
    if (field.message_type() != nullptr && !is_duration && !field.is_repeated()) {
      AddBounded(*field.message_type(), path + ".", fields);
    }
    const auto kind = field.cpp_type();
    const bool is_number = kind == FieldDescriptor::CPPTYPE_INT32 ||
                           kind == FieldDescriptor::CPPTYPE_INT64 ||
                           kind == FieldDescriptor::CPPTYPE_DOUBLE;
    if ((is_number || is_duration) && field.name() != "max_time") fields.insert(path);
  }
}

TEST(MistakesTest, EveryNumberHasBounds) {
  std::set<std::string> all, tested;
  AddBounded(*v1::ServerConfig::descriptor(), "", all);
  for (const Bound& bound : NumberBounds()) tested.insert(bound.field);
  for (const Bound& bound : DurationBounds()) tested.insert(bound.field);
  EXPECT_EQ(tested, all);
}

// --- everything else ---

struct Mistake {
  std::string text;
  std::string said;  // behind the file's name: a regular expression of the whole
};

void ExpectAllSaid(const std::vector<Mistake>& mistakes) {
  for (const Mistake& mistake : mistakes) {
    ExpectSaid(ErrorOf(mistake.text), "s\\.textproto" + mistake.said);
  }
}

TEST(MistakesTest, ValuesThatAreNone) {
  ExpectAllSaid({
      {"listen: ''", ":1: listen is ''; it must be HOST:PORT with a port in \\[0, 65535\\]"},
      {"\nlisten: '127.0.0.1'", ":2: listen is '127.0.0.1'; it must be HOST:PORT .*65535\\]"},
      {"listen: 'a:65536'", ":1: listen is 'a:65536'; it must be HOST:PORT .*65535\\]"},
      {"listen: 'a:-1'", ":1: listen is 'a:-1'; it must be HOST:PORT .*"},
      {"listen: '::1:80'", ":1: listen is '::1:80'; it must be HOST:PORT .*"},
      {"http_listen: '8080'", ":1: http_listen is '8080'; it must be HOST:PORT .*"},
      {"metrics_listen: 'unix:/x'", ":1: metrics_listen is 'unix:/x'; it must be HOST:PORT .*"},
      {"device: ''", ":1: device is ''; it must be auto, cpu, cuda or cuda:0 to cuda:127"},
      {"device: 'cuda:128'", ":1: device is 'cuda:128'; it must be .*cuda:127"},
      {"training { gpu: '0 1' }", ":1: training.gpu is '0 1'; it must be made of letters, .*"},
      {"training {\n\nlaunch: ['']}", ":3: training.launch\\[0\\] is ''; it must be a program"},
      {"training { max_time { } }", ":1: training.max_time is '0'; it must be longer than 0s"},
      {"datasets {\nregistered { name: 'a' dir: 'x' }\nregistered { name: 'a' dir: 'y' } }",
       ":3: datasets.registered\\[1\\].name is 'a'; it must be another: an earlier one has it"},
      {"datasets { registered { name: '../a' dir: 'x' } }",
       ":1: datasets.registered\\[0\\].name is '../a'; it must .*"},
      {"datasets { registered { name: 'a' } }",
       ":1: datasets.registered\\[0\\].dir is ''; it must be a folder"},
      {"promotion { dataset: 'a/b' }", ":1: promotion.dataset is 'a/b'; it must be made of .*"},
      {"promotion { max_regression_db: nan }",
       ":1: promotion.max_regression_db is nan; it must be in \\[0, 100\\]"},
      {"drain { delay { seconds: 1 nanos: -1 } }",
       ":1: drain.delay is 1 seconds and -1 nanos; they must have one sign and be at most .*"},
      {"drain { delay { seconds: 400000000000 } }",
       ":1: drain.delay is 400000000000 seconds .* at most 315576000000 and 999999999"},
      {"drain { delay { nanos: 1000000000 } }",
       ":1: drain.delay is 0 seconds and 1000000000 nanos; .* at most .*"},
  });
}

TEST(MistakesTest, WhatDoesNotGoTogether) {
  const std::string alone =
      "it must be an address of this machine alone \\(127.0.0.1, \\[::1\\], localhost\\), .*"
      "allow_plaintext_beyond_loopback is true";
  ExpectAllSaid({
      {"tls { key_file: 'k' }",
       ":1: tls.key_file is 'k'; it must be beside a tls.certificate_file"},
      {"tls {\ncertificate_file: 'c' }",
       ":2: tls.certificate_file is 'c'; it must be beside a tls.key_file"},
      {"tls { client_ca_file: 'a' }",
       ":1: tls.client_ca_file is 'a'; it must be beside a tls.certificate_file"},
      {"listen: '0.0.0.0:1'", ":1: listen is '0.0.0.0:1'; " + alone},
      {"listen: '[::]:1'", ":1: listen is '\\[::\\]:1'; " + alone},
      {"listen: '127.0.0.1.example.org:1'", ":1: listen is '127.0.0.1.example.org:1'; " + alone},
      {"listen: 'photos.example.org:1'", ":1: listen is 'photos.example.org:1'; " + alone},
      {"metrics_listen: '0.0.0.0:1'", ":1: metrics_listen is '0.0.0.0:1'; " + alone},
      {"\nhttp_listen: '0.0.0.0:1'", ":2: http_listen is '0.0.0.0:1'; " + alone},
      {"listen: '0.0.0.0:1' tls { certificate_file: 'c' key_file: 'k' }\n"
       "metrics_listen: '192.0.2.1:1'",
       ":2: metrics_listen is '192.0.2.1:1'; " + alone},
  });
  for (const char* fine :
       {"listen: '127.9.9.9:1'", "listen: 'localhost:1'", "listen: '[::1]:1'",
        "listen: '0.0.0.0:1' tls { certificate_file: 'c' key_file: 'k' }",
        "http_listen: '0.0.0.0:1' tls { certificate_file: 'c' key_file: 'k' }",
        "listen: '0.0.0.0:1' metrics_listen: '[::]:1' allow_plaintext_beyond_loopback: true"}) {
    EXPECT_EQ(ErrorOf(fine), "") << fine;
  }
}

TEST(MistakesTest, WrongTypes) {
  ExpectAllSaid({
      {"listen: 5", ":1: Expected string, got: 5 in 'listen: 5'; listen takes a quoted string"},
      {"listen: localhost:1", ":1: Expected string, got: localhost .*; listen takes a quoted .*"},
      {"threads { model: '2' }",
       ":1: Expected integer, got: '2' in .*; threads.model takes an integer in .*"},
      {"training { threads: many }",
       ":1: Expected integer, got: many in .*; training.threads takes an integer in .*"},
      {"threads { model: 1.5 }", ":1: Expected integer, got: 1.5 in .*threads.model takes .*"},
      {"threads { workers: 99999999999 }",
       ":1: Integer out of range \\(99999999999\\) in .*; threads.workers takes an integer in "
       "\\[-2147483648, 2147483647\\]"},
      {"limits { max_image_pixels: 9223372036854775808 }",
       ":1: Integer out of range \\(9223372036854775808\\) .*; limits.max_image_pixels takes .*"},
      {"admission { max_bytes: 2GiB }", ":1: .*2GiB.*; admission.max_bytes takes an integer .*"},
      {"training { enabled: maybe }", ":1: .*maybe.*; training.enabled takes true or false"},
      {"allow_plaintext_beyond_loopback: 2",
       ":1: .*\\(2\\).*; allow_plaintext_beyond_loopback takes true or false"},
      {"promotion { max_regression_db: much }",
       ":1: .*much.*; promotion.max_regression_db takes a number"},
      {"limits: 3",
       ":1: Expected \"\\{\", found \"3\" in 'limits: 3'; limits takes \\{ ... \\} with "
       "max_image_pixels, .*"},
      {"drain { delay: 5 }",
       ":1: Expected \"\\{\", found \"5\" in .*; drain.delay takes \\{ ... \\} with seconds, "
       "nanos"},
      {"drain { delay: '5s' }", ":1: Expected \"\\{\".*5s.*; drain.delay takes .*seconds, nanos"},
      {"listen { }",
       ":1: Expected \":\", found \"\\{\" in 'listen \\{ \\}'; listen takes a quoted .*"},
      {"model: ['a', 'b']", ":1: Expected string, got: \\[ in .*; model takes a quoted string"},
  });
}

TEST(MistakesTest, UnknownNames) {
  ExpectAllSaid({
      {"\nlisen: 'a:1'",
       ":2: Message type \"deweather.v1.ServerConfig\" has no field named \"lisen\" in 'lisen: "
       "'a:1''; it has listen, .*"},
      {"threads { cores: 1 }", ":1: .*no field named \"cores\" in .*; it has model, workers"},
      {"drain { delay { minutes: 1 } }",
       ":1: .*no field named \"minutes\" in .*; it has seconds, nanos"},
      {"tls {\n  cert: 'c'\n}",
       ":2: .*no field named \"cert\" in 'cert: 'c''; it has certificate_file, .*"},
      {"Listen: 'a:1'", ":1: .*no field named \"Listen\" in .*; it has listen, .*"},
      {"1: 'a:1'", ":1: Expected identifier, got: 1 in '1: 'a:1''"},
      {"[deweather.v1.extra]: 1", ":1: .*deweather.v1.extra.*"},
      {"precision: PRECISION_F16",
       ":1: .*\"PRECISION_F16\" for field \"precision\" in .*; precision takes one of "
       "PRECISION_AUTO, "
       "PRECISION_F32, PRECISION_BF16"},
      {"precision: 9", ":1: precision is 9; it takes one of PRECISION_AUTO, .*"},
      {"access {\n health: RULE_ALL }",
       ":2: .*\"RULE_ALL\" for field \"health\" .*; access.health takes one of RULE_ANYONE, .*"},
      {"access { reflection: 4 }", ":1: access.reflection is 4; it takes one of RULE_ANYONE, .*"},
      {"log { format: FORMAT_XML }",
       ":1: .*\"FORMAT_XML\" for field \"format\" .*; log.format takes one of FORMAT_AUTO, .*"},
      {"log { level: -1 }", ":1: log.level is -1; it takes one of LEVEL_DEBUG, .*"},
  });
}

TEST(MistakesTest, Grammar) {
  ExpectAllSaid({
      {"model: 'a'\nmodel: 'b'",
       ":2: Non-repeated field \"model\" is specified multiple times in 'model: 'b''; model takes "
       ".*"},
      {"threads { model: 1 }\nthreads { workers: 1 }",
       ":2: Non-repeated field \"threads\" is specified multiple times .*"},
      {"threads {\nmodel: 1\nmodel: 2\n}",
       ":3: Non-repeated field \"model\" is specified multiple times in 'model: 2'; threads.model "
       ".*"},
      {"drain {", ":1: .* in 'drain \\{'.*"},
      {"drain {\n  delay { seconds: 1 }\n", ":[23]: Expected identifier, got: .*"},
      {"drain { ] }", ":1: Expected identifier, got: \\] in 'drain \\{ \\] \\}'.*"},
      {"drain { }\n}", ":2: Expected identifier, got: \\} in '\\}'.*"},
      {"}", ":1: Expected identifier, got: \\} in '\\}'.*"},
      {"listen: 'a", ":1: .* in 'listen: 'a'; listen takes a quoted string"},
      {"listen: \"a:1'", ":1: .* in 'listen: \"a:1''; listen takes a quoted string"},
      {"listen 'a:1'", ":1: Expected \":\", found \"'a:1'\" in .*; listen takes a quoted string"},
      {"listen: ", ":1: Expected string, got: .* in 'listen:'; listen takes a quoted string"},
      {"listen = 'a:1'", ":1: Expected \":\", found \"=\" in .*; listen takes .*"},
      {"{ \"listen\": \"a:1\" }", ":1: Expected identifier, got: \\{ in .*"},
      {"// listen", ":1: .* in '// listen'.*"},
      {"listen: 'a:1' /* why */", ":1: .*"},
      {"model: 'a';;", ":1: .*;.*"},
  });
}

TEST(MistakesTest, BytesThatAreNoText) {
  using namespace std::string_literals;
  ExpectAllSaid({
      {"model: 'a'\0"s,
       ":1: Invalid control characters encountered in text in "
       "'model: 'a'\\\\x00'.*"},
      {"\nmodel: 'a\0b'"s, ":2: .*"},
      {"model: 'a'\n\x01"s, ":2: Invalid control characters .*'\\\\x01'.*"},
      {"model: 'a\\000b'", ":1: model is 'a\\\\x00b'; it must be UTF-8 without NUL"},
      {"model: '\\377'", ":1: model is '\\\\xff'; it must be UTF-8 without NUL"},
      {"training { launch: ['p', '\\377'] }",
       ":1: training.launch\\[1\\] is '\\\\xff'; it must be UTF-8 without NUL"},
      {"\n model: '\xE9t\xE9'",  // Latin-1
       ":2: byte 10 of ' model: '\\\\xe9t\\\\xe9'' is 0xe9; the file must be UTF-8"},
      {"\xFF\xFEl\0i\0"s, ":1: byte 1 of .* is 0xff; the file must be UTF-8"},  // UTF-16
      {"\xED\xA0\x80", ":1: byte 1 of .* is 0xed; the file must be UTF-8"},     // half a surrogate
      {"\xC0\xAF", ":1: byte 1 of .* is 0xc0; the file must be UTF-8"},         // too long
      {"\xF4\x90\x80\x80", ":1: byte 1 of .* is 0xf4; the file must be UTF-8"},
      {"# \xE2\x82", ":1: byte 3 of .* is 0xe2; the file must be UTF-8"},  // cut off
  });
}

TEST(MistakesTest, EditorsOfOtherSystemsMakeNone) {
  EXPECT_EQ(ErrorOf("\xEF\xBB\xBFlisten: '127.0.0.1:1'"), "") << "a byte order mark";
  EXPECT_EQ(ErrorOf("# \xC3\xA9\xE2\x82\xAC\xF0\x9F\x8C\xA7\nmodel: 'caf\xC3\xA9'"), "");
  EXPECT_EQ(ErrorOf("listen: '127.0.0.1:1'\r\nthreads {\r\n model: 1\r\n}\r\n"), "");
  ExpectSaid(ErrorOf("listen: '127.0.0.1:1'\r\nthreads {\r\n model: -1\r\n}\r\n"),
             "s\\.textproto:3: threads.model is -1; it must be in \\[0, 1024\\]");
  ExpectSaid(ErrorOf("threads {\r\n\tmodel: x\r\n}\r\n"),
             "s\\.textproto:2: Expected integer, got: x in 'model: x'; threads.model takes .*");
}

// A name that stands in several messages, before and after.
TEST(MistakesTest, AFieldIsToldByItsWholePath) {
  ExpectAllSaid({
      {"admission { max_tiles: 1 } batching { max_tiles: x }",
       ":1: Expected integer, got: x in .*; batching.max_tiles takes an integer in .*"},
      {"# batching {\nmodel: 'drain {' admission { max_bytes: x }",
       ":2: .*got: x in .*; admission.max_bytes takes .*"},
      {"datasets < registered < name: 3 > >",
       ":1: .*got: 3 in .*; datasets.registered.name takes a quoted string"},
  });
}

// --- files ---

std::string LoadErrorOf(const std::string& path) {
  return std::string(LoadServerConfig(path).status().message());
}

TEST(MistakesTest, Files) {
  const std::string folder = NewFolder();
  const std::string path = folder + "/s.textproto";
  ExpectSaid(LoadErrorOf(path), "cannot open '.*/s\\.textproto': No such file or directory");
  ExpectSaid(LoadErrorOf(""), "cannot open '': No such file or directory");
  ExpectSaid(LoadErrorOf(folder), "cannot read '.*': it is a folder");
  std::ofstream(path) << std::string(2 << 20, '#');
  ExpectSaid(LoadErrorOf(path),
             ".*/s\\.textproto has 2097152 bytes; a configuration has at most 1048576");
  ExpectSaid(LoadErrorOf("/dev/zero"),
             "/dev/zero has more than 1048576 bytes; a configuration has at most 1048576");
  std::ofstream(path) << "threads { model: 1 }\nthreads { }";
  ExpectSaid(LoadErrorOf(path), ".*/s\\.textproto:2: Non-repeated field \"threads\" .*");
  EXPECT_EQ(LoadErrorOf("/dev/null"), "");
}

// --- flags ---

FieldFlag Flag(const std::string& name, const std::string& field,
               std::string ServerOptions::*member, const std::string& value) {
  return {name, field, [member, value](ServerOptions& options) {
            options.*member = value;
            return absl::OkStatus();
          }};
}

std::string ErrorWith(const std::string& text, const std::vector<FieldFlag>& flags,
                      const MachineCheck& check = {}) {
  return std::string(ParseServerConfig(text, "s.textproto", flags, check).status().message());
}

TEST(MistakesTest, OfAFlagNameTheFlag) {
  const FieldFlag flag = Flag("--listen", "listen", &ServerOptions::listen, "nowhere");
  ExpectSaid(ErrorWith("listen: 'localhost:1'", {flag}),
             "--listen is 'nowhere'; it must be HOST:PORT with a port in \\[0, 65535\\]");
  ExpectSaid(ErrorWith("\nthreads { model: -1 }",
                       {Flag("--listen", "listen", &ServerOptions::listen, "localhost:1")}),
             "s\\.textproto:2: threads.model is -1; .*");
  const FieldFlag fails = {"--precision", "precision", [](ServerOptions&) {
                             return absl::InvalidArgumentError("unknown precision 'f16'");
                           }};
  EXPECT_EQ(ErrorWith("", {fails}), "--precision: unknown precision 'f16'");
}

TEST(MistakesTest, AFlagMendsTheFile) {
  EXPECT_EQ(ErrorWith("listen: 'nowhere'",
                      {Flag("--listen", "listen", &ServerOptions::listen, "localhost:1")}),
            "");
}

TEST(MistakesTest, OfTheMachineAreFoundLastAndNameTheirLine) {
  const MachineCheck check = [](const ServerOptions& options) {
    return absl::NotFoundError(absl::StrCat("data_dir is '", options.data_dir, "'; no folder"));
  };
  EXPECT_EQ(ErrorWith("\ndata_dir: 'd'", {}, check), "s.textproto:2: data_dir is 'd'; no folder");
  EXPECT_EQ(ErrorWith("data_dir: 'd'",
                      {Flag("--data-dir", "data_dir", &ServerOptions::data_dir, "e")}, check),
            "--data-dir is 'e'; no folder");
  EXPECT_EQ(ErrorWith("data_dir: 'd' listen: ''", {}, check).find("no folder"), std::string::npos);
}

}  // namespace
}  // namespace deweather
