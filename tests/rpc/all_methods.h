// Every method of every service of this project's that is part of the program.

#ifndef DEWEATHER_TESTS_RPC_ALL_METHODS_H_
#define DEWEATHER_TESTS_RPC_ALL_METHODS_H_

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor_database.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"

namespace deweather {

inline std::vector<const google::protobuf::MethodDescriptor*> AllMethods() {
  using google::protobuf::DescriptorPool;
  std::vector<std::string> files;
  DescriptorPool::internal_generated_database()->FindAllFileNames(&files);
  std::vector<const google::protobuf::MethodDescriptor*> methods;
  for (const std::string& name : files) {
    if (!absl::StartsWith(name, "deweather/") && !absl::StartsWith(name, "inference/")) continue;
    const auto* const file = DescriptorPool::generated_pool()->FindFileByName(name);
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        methods.push_back(file->service(i)->method(j));
      }
    }
  }
  return methods;
}

}  // namespace deweather

#endif  // DEWEATHER_TESTS_RPC_ALL_METHODS_H_
