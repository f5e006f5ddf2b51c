// Coroutines of Boost.Asio. Its awaitable.hpp, as Debian 12 has it, leaves <utility> to those who include it.

#ifndef DEWEATHER_SERVER_HTTP_ASIO_H_
#define DEWEATHER_SERVER_HTTP_ASIO_H_

// clang-format off
#include <utility>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
// clang-format on

#endif  // DEWEATHER_SERVER_HTTP_ASIO_H_
