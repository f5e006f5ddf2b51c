// Pages of a list, as AIP-158 has them: how many a caller wants, and what they come after.
//
// Threads  thread-safe: pure functions
// Errors   INVALID_ARGUMENT; the message begins with the field

#ifndef DEWEATHER_SERVER_RPC_PAGE_H_
#define DEWEATHER_SERVER_RPC_PAGE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deweather {

struct Page {
  int size = 0;
  std::string after;  // the last of the page before; empty: there was none
};

// `list` is which list, and with what filter: a token of another one is refused.
absl::StatusOr<Page> ToPage(int page_size, const std::string& page_token, const std::string& list);

// Of the page that comes after `last`.
std::string PageToken(const std::string& last, const std::string& list);

// For a token whose `after` is none of that list.
absl::Status UnknownPageToken();

}  // namespace deweather

#endif  // DEWEATHER_SERVER_RPC_PAGE_H_
