// deploy/server.textproto is the commented reference: it parses, holds every field, and each of them
// at its default.

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "deweather/v1/server_config.pb.h"
#include "proto/config/config.h"

namespace deweather {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using Tree = ::google::protobuf::TextFormat::ParseInfoTree;

constexpr char kReference[] = DW_SOURCE_DIR "/deploy/server.textproto";

std::string Text() {
  std::ifstream in(kReference);
  return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

// Whether the default is something that can be written down.
bool CanBeWritten(const FieldDescriptor& field) { return field.name() != "max_time"; }

// Every field of `type` must stand in the file, or in a comment; the parts of a duration need not.
void ExpectEveryField(const google::protobuf::Descriptor& type, const Tree* tree) {
  ASSERT_NE(tree, nullptr) << type.full_name();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* field = type.field(i);
    if (!CanBeWritten(*field)) {
      EXPECT_NE(Text().find("# " + field->name() + " {"), std::string::npos) << field->full_name();
      continue;
    }
    const int index = field->is_repeated() ? 0 : -1;
    EXPECT_GE(tree->GetLocation(field, index).line, 0) << field->full_name() << " is missing";
    const bool nested = !field->is_repeated() && field->message_type() != nullptr &&
                        field->message_type()->full_name() != "google.protobuf.Duration";
    if (nested) ExpectEveryField(*field->message_type(), tree->GetTreeForNested(field, -1));
  }
}

TEST(ReferenceTest, EqualsTheDefaults) {
  const auto options = LoadServerConfig(kReference);
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(*options, ServerOptions());
}

TEST(ReferenceTest, HoldsEveryField) {
  v1::ServerConfig config;
  Tree tree;
  google::protobuf::TextFormat::Parser parser;
  parser.WriteLocationsTo(&tree);
  ASSERT_TRUE(parser.ParseFromString(Text(), &config));
  ExpectEveryField(*config.GetDescriptor(), &tree);
}

}  // namespace
}  // namespace deweather
