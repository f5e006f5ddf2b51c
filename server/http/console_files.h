// The files of the console page, which lie inside the program (server/http/console, cmake/embed.cmake).
//
// Threads  thread-safe: constant data

#ifndef DEWEATHER_SERVER_HTTP_CONSOLE_FILES_H_
#define DEWEATHER_SERVER_HTTP_CONSOLE_FILES_H_

#include <string_view>

#include "absl/types/span.h"
#include "server/http/http_message.h"

namespace deweather {

// One file as it is sent.
struct ConsoleFile {
  std::string_view path;          // of the URL: "/", "/console/main.js"
  std::string_view content_type;  // "text/javascript; charset=utf-8"
  std::string_view etag;          // quoted; another one whenever the body is another
  std::string_view body;
};

// What the page may do: only what comes from this server, nothing inline, no frame around it, no form sent. Goes
// with each of its files as Content-Security-Policy.
inline constexpr std::string_view kConsolePolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

// All files, by path.
absl::Span<const ConsoleFile> ConsoleFiles();

// nullptr where the console has no such path, which is one without query. Paths are held against the list: none leads
// to the file system.
const ConsoleFile* FindConsoleFile(std::string_view path);

// The file, or 304 where the request shows that its caller has it (If-None-Match). Browsers ask each time, so that a
// page is never of two versions of the program.
HttpReply ConsoleReply(const ConsoleFile& file, const HttpRequest& request);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_CONSOLE_FILES_H_
