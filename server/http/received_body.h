// The body of a request for Boost.Beast's parser: at most so long, and in memory only as far as there is room.
// Nothing is reserved for what a header says will come.

#ifndef DEWEATHER_SERVER_HTTP_RECEIVED_BODY_H_
#define DEWEATHER_SERVER_HTTP_RECEIVED_BODY_H_

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/optional/optional.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "server/http/body_budget.h"

namespace deweather {

struct ReceivedBody {
  struct value_type {
    std::string text;
    int64_t max_bytes = 0;
    BodyBudget::Share* share = nullptr;
    bool too_long = false;
    bool no_room = false;
  };

  class reader {
   public:
    template <bool is_request, typename Fields>
    reader(boost::beast::http::header<is_request, Fields>&, value_type& body) : body_(body) {}

    void init(const boost::optional<uint64_t>& length, boost::beast::error_code& error) {
      length_ = length.value_or(0);
      error = {};
    }

    template <typename Buffers>
    size_t put(const Buffers& buffers, boost::beast::error_code& error) {
      const size_t bytes = boost::asio::buffer_size(buffers);
      const size_t all = body_.text.size() + bytes;
      body_.too_long = static_cast<int64_t>(all) > body_.max_bytes;
      body_.no_room = !body_.too_long && !body_.share->Take(static_cast<int64_t>(bytes));
      if (body_.too_long || body_.no_room) {
        error = boost::beast::http::error::body_limit;
        return 0;
      }
      if (all > body_.text.capacity()) body_.text.reserve(Room(all));
      const size_t before = body_.text.size();
      body_.text.resize(all);
      boost::asio::buffer_copy(boost::asio::buffer(body_.text.data() + before, bytes), buffers);
      error = {};
      return bytes;
    }

    void finish(boost::beast::error_code& error) { error = {}; }

   private:
    // Twice as much each time, but no more than will come.
    size_t Room(size_t needed) const {
      const size_t twice = std::max(needed, 2 * body_.text.capacity());
      return length_ >= needed ? std::min<size_t>(twice, length_) : twice;
    }

    value_type& body_;
    uint64_t length_ = 0;  // 0: not known
  };
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_RECEIVED_BODY_H_
