#include "server/rpc/address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/rpc/rpc_server.h"

namespace deweather {
namespace {

using ::testing::HasSubstr;

TEST(AddressTest, FreePortIsFine) {
  EXPECT_TRUE(CheckCanListen({"127.0.0.1:0"}).ok());
  EXPECT_TRUE(CheckCanListen({"localhost:0"}).ok());
}

TEST(AddressTest, PortInUseIsNamed) {
  const auto server = StartRpcServer("127.0.0.1:0", {}, {});
  ASSERT_TRUE(server.ok());
  const absl::Status status = CheckCanListen({server->address});
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr(server->address));
  EXPECT_THAT(std::string(status.message()), HasSubstr("Address already in use"));
  EXPECT_FALSE(StartRpcServer(server->address, {}, {}).ok()) << "two servers share a port";
}

TEST(AddressTest, OneAddressTwiceIsInUse) {
  std::string address;
  {
    const auto server = StartRpcServer("127.0.0.1:0", {}, {});
    ASSERT_TRUE(server.ok());
    address = server->address;
  }
  EXPECT_TRUE(CheckCanListen({address}).ok());
  EXPECT_THAT(std::string(CheckCanListen({address, address}).message()),
              HasSubstr("Address already in use"));
}

TEST(AddressTest, ForeignAddressAndUnknownHost) {
  EXPECT_THAT(std::string(CheckCanListen({"192.0.2.1:0"}).message()), HasSubstr("192.0.2.1:0"));
  EXPECT_EQ(CheckCanListen({"no.such.host.invalid:0"}).code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace deweather
