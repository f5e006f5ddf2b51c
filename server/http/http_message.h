// An HTTP request's head and a reply, as what answers requests sees them: no sockets, no library's types.
//
// Threads  thread-safe: values and pure functions
// Errors   INVALID_ARGUMENT INVALID_OPTION; messages name the option

#ifndef DEWEATHER_SERVER_HTTP_HTTP_MESSAGE_H_
#define DEWEATHER_SERVER_HTTP_HTTP_MESSAGE_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace deweather {

struct HttpHeader {
  std::string name;  // of a request: in lower case
  std::string value;
};

struct HttpRequest {
  std::string method = {};  // "GET"
  std::string path = {};    // as it came, without its query
  std::string query = {};   // as it came, behind the '?'
  std::vector<HttpHeader> headers = {};

  // Values of all headers of that name, which is in lower case.
  std::vector<std::string_view> All(std::string_view name) const;
  // Of the one header of that name; nothing: there is none, or more than one.
  std::optional<std::string_view> One(std::string_view name) const;
  // What Content-Type says before any parameter, in lower case; empty: nothing.
  std::string content_type() const;
};

struct HttpReply {
  int status = 200;
  std::vector<HttpHeader> headers = {};  // beside length, date and those of every reply
  std::string body = {};
};

// A path, or a path and its query, in two parts. Nothing: it is no path of ours ("*", "http://...").
struct HttpTarget {
  std::string path;
  std::string query;
};
std::optional<HttpTarget> ParseTarget(std::string_view target);

struct QueryOption {
  std::string name;
  std::string value;
};

// "a=1&b=x%20y", each name once.
absl::StatusOr<std::vector<QueryOption>> ParseQuery(std::string_view query);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_HTTP_MESSAGE_H_
