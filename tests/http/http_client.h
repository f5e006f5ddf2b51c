// A caller who writes HTTP by hand, well or badly.

#ifndef DEWEATHER_TESTS_HTTP_HTTP_CLIENT_H_
#define DEWEATHER_TESTS_HTTP_HTTP_CLIENT_H_

#include <arpa/inet.h>
#include <errno.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <map>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace deweather {

struct ReceivedReply {
  int status = 0;                              // 0: none came
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // out of its chunks, if it came in such
};

class HttpClient {
 public:
  explicit HttpClient(const std::string& address) {
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port));
    sockaddr_in where = {};
    where.sin_family = AF_INET;
    where.sin_port = htons(static_cast<uint16_t>(port));
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const timeval patience = {.tv_sec = 30, .tv_usec = 0};  // a test that would hang fails
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&where), sizeof(where)), 0);
  }
  ~HttpClient() { Leave(); }
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  void Leave() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  // False: the server takes no more.
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  // Nothing more will be sent.
  void EndSending() const { shutdown(fd_, SHUT_WR); }

  // Head and body; each of `headers` ends with CR LF.
  bool Request(const std::string& method, const std::string& target, const std::string& body = "",
               const std::string& headers = "") {
    return Send(absl::StrCat(method, " ", target, " HTTP/1.1\r\nHost: localhost\r\n", headers,
                             "Content-Length: ", body.size(), "\r\n\r\n", body));
  }

  // The next reply; of one to HEAD only the head comes.
  ReceivedReply Receive(bool head_only = false) {
    ReceivedReply reply;
    const std::string head = Until("\r\n\r\n");
    if (head.empty()) return reply;
    for (const absl::string_view line : absl::StrSplit(head, "\r\n", absl::SkipEmpty())) {
      const size_t colon = line.find(':');
      if (reply.status == 0) {
        EXPECT_TRUE(absl::SimpleAtoi(line.substr(9, 3), &reply.status)) << head;
      } else {
        reply.headers[absl::AsciiStrToLower(line.substr(0, colon))] =
            std::string(absl::StripAsciiWhitespace(line.substr(colon + 1)));
      }
    }
    size_t length = 0;
    if (head_only) return reply;
    if (reply.headers.contains("transfer-encoding")) {
      for (std::string chunk = Chunk(); !chunk.empty(); chunk = Chunk()) reply.body += chunk;
    } else if (absl::SimpleAtoi(reply.headers["content-length"], &length)) {
      reply.body = Exactly(length);
    }
    return reply;
  }

  // One chunk of a body; empty: the last.
  std::string Chunk() {
    const std::string line = Until("\r\n");
    const size_t length = std::strtoul(line.c_str(), nullptr, 16);
    std::string chunk = Exactly(length);
    Exactly(2);
    return chunk;
  }

  // Whether the server has closed, once all that it sent is read.
  bool Closed() { return received_.empty() && !More() && !late_; }

  // Of one request.
  ReceivedReply Call(const std::string& method, const std::string& target,
                     const std::string& body = "", const std::string& headers = "") {
    Request(method, target, body, headers);
    return Receive(method == "HEAD");
  }

 private:
  bool More() {
    char some[65536];
    const ssize_t got = recv(fd_, some, sizeof(some), 0);
    late_ = got < 0 && errno == EAGAIN;
    if (got > 0) received_.append(some, static_cast<size_t>(got));
    return got > 0;
  }
  std::string Until(std::string_view mark) {
    size_t at = 0;
    while ((at = received_.find(mark)) == std::string::npos) {
      if (!More()) return "";
    }
    return Exactly(at + mark.size());
  }
  std::string Exactly(size_t bytes) {
    while (received_.size() < bytes && More()) continue;
    std::string taken = received_.substr(0, bytes);
    received_.erase(0, bytes);
    return taken;
  }

  int fd_ = -1;
  std::string received_;
  bool late_ = false;  // nothing came within the patience
};

}  // namespace deweather

#endif  // DEWEATHER_TESTS_HTTP_HTTP_CLIENT_H_
