#include "server/http/console_files.h"

#include <algorithm>

namespace deweather {

const ConsoleFile* FindConsoleFile(std::string_view path) {
  const absl::Span<const ConsoleFile> files = ConsoleFiles();
  const auto found = std::find_if(files.begin(), files.end(),
                                  [path](const ConsoleFile& file) { return file.path == path; });
  return found == files.end() ? nullptr : &*found;
}

}  // namespace deweather
