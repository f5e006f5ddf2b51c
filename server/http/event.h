// Something that a coroutine waits for and others tell of.
//
// Threads  thread-compatible: all of it on one strand

#ifndef DEWEATHER_SERVER_HTTP_EVENT_H_
#define DEWEATHER_SERVER_HTTP_EVENT_H_

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <utility>

#include "server/http/asio.h"

namespace deweather {

class Event {
 public:
  explicit Event(const boost::asio::any_io_executor& strand)
      : timer_(strand, boost::asio::steady_timer::time_point::max()) {}

  void Raise() {
    raised_ = true;
    timer_.cancel();
  }

  // Returns at once if it was raised since the last wait. May return without: wait in a loop over the condition.
  boost::asio::awaitable<void> Wait() {
    if (std::exchange(raised_, false)) co_return;
    boost::system::error_code cancelled;
    co_await timer_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, cancelled));
    raised_ = false;
  }

 private:
  boost::asio::steady_timer timer_;
  bool raised_ = false;
};

}  // namespace deweather

#endif  // DEWEATHER_SERVER_HTTP_EVENT_H_
