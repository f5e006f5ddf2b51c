#include "model/base/control_group.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace deweather {
namespace {

// Version 1 says so many bytes, rounded to pages, where there is no limit.
constexpr int64_t kNoLimitBytes = int64_t{1} << 60;

std::string ReadAll(const std::string& path) {
  std::ifstream in(path);
  return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

bool Holds(const std::string& controllers, const std::string& controller) {
  const std::vector<std::string> all = absl::StrSplit(controllers, ',');
  return std::find(all.begin(), all.end(), controller) != all.end();
}

// The process's own group, "/" or "/system.slice/...": a line is "4:memory:/path", version 2's "0::/path".
std::string OwnGroup(const std::string& controller, const std::string& root) {
  std::istringstream lines(ReadAll(root + "/proc/self/cgroup"));
  std::string line;
  while (std::getline(lines, line)) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() == 3 && Holds(parts[1], controller)) return parts[2];
  }
  return "/";
}

}  // namespace

std::vector<std::string> ControlGroupTexts(const std::string& controller, const std::string& file,
                                           const std::string& root) {
  std::vector<std::string> texts;
  std::string group = OwnGroup(controller, root);
  const std::string hierarchy =
      root + "/sys/fs/cgroup" + (controller.empty() ? "" : "/" + controller);
  while (true) {
    texts.push_back(ReadAll(hierarchy + group + "/" + file));
    if (group.size() <= 1) return texts;
    group = group.substr(0, group.rfind('/'));
  }
}

std::optional<int64_t> MemoryLimitBytes(const std::string& root) {
  std::vector<std::string> texts = ControlGroupTexts("", "memory.max", root);
  for (std::string& text : ControlGroupTexts("memory", "memory.limit_in_bytes", root)) {
    texts.push_back(std::move(text));
  }
  int64_t least = kNoLimitBytes;
  for (const std::string& text : texts) {
    int64_t bytes = 0;  // "max" is no number
    if (absl::SimpleAtoi(absl::StripAsciiWhitespace(text), &bytes)) least = std::min(least, bytes);
  }
  if (least >= kNoLimitBytes) return std::nullopt;
  return least;
}

}  // namespace deweather
