#include "server/http/console_files.h"

#include <algorithm>
#include <string>

namespace deweather {

const ConsoleFile* FindConsoleFile(std::string_view path) {
  const absl::Span<const ConsoleFile> files = ConsoleFiles();
  const auto found = std::find_if(files.begin(), files.end(),
                                  [path](const ConsoleFile& file) { return file.path == path; });
  return found == files.end() ? nullptr : &*found;
}

HttpReply ConsoleReply(const ConsoleFile& file, const HttpRequest& request) {
  HttpReply reply{.headers = {{"Content-Type", std::string(file.content_type)},
                              {"Content-Security-Policy", std::string(kConsolePolicy)},
                              {"Cache-Control", "no-cache"},
                              {"ETag", std::string(file.etag)}}};
  if (request.One("if-none-match") == file.etag) {
    reply.status = 304;
  } else {
    reply.body = std::string(file.body);
  }
  return reply;
}

}  // namespace deweather
