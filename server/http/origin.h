// Keeps pages of other sites from using a browser's reach to call this server: no CORS header is ever sent, and
// what a browser says of where a request comes from is held against where it goes.
//
// Threads  thread-safe: pure functions
// Errors   PERMISSION_DENIED FOREIGN_ORIGIN, FOREIGN_HOST

#ifndef DEWEATHER_SERVER_HTTP_ORIGIN_H_
#define DEWEATHER_SERVER_HTTP_ORIGIN_H_

#include <string_view>

#include "absl/status/status.h"

namespace deweather {

// Whether `origin`, the value of an Origin header ("https://photos.example.org"), is the host that the request is
// for. Of "http" and "https" alone nothing is made: a proxy in front may speak the other.
absl::Status CheckOrigin(std::string_view origin, std::string_view host);

// Whether `host`, the value of a Host header, is an address, or a name that nobody elsewhere can give: localhost, or
// another without a dot. A name that somebody's DNS gives this machine would make their page's origin ours.
absl::Status CheckHostIsLocal(std::string_view host);

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_ORIGIN_H_
