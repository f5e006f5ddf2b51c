// How commands are declared: a name, flags of its own, and what it does.

#ifndef DEWEATHER_CLIENT_FLAGS_H_
#define DEWEATHER_CLIENT_FLAGS_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "client/channel.h"

namespace deweather {

// What the command line asks for; it returns the exit status.
using Command = std::function<int()>;

// A command and the flags that it fills.
template <typename Flags>
struct Declared {
  CLI::App& app;
  Flags& flags;
};

// Declares a command below `parent`; once it is parsed, `chosen` calls `run`. Every command has flags of its
// own: CLI11 fills those of the others from the environment too.
template <typename Flags>
Declared<Flags> AddCommand(CLI::App& parent, const std::string& name, const std::string& help,
                           int (*run)(const Flags&), Command* chosen) {
  CLI::App* const app = parent.add_subcommand(name, help);
  const auto flags = std::make_shared<Flags>();
  app->final_callback([chosen, flags, run] { *chosen = [flags, run] { return run(*flags); }; });
  return {*app, *flags};
}

// --server, how it and the caller are known (credentials.h), and --timeout, "Longest time for `what`", whose default is the one that is set.
void AddServerFlags(CLI::App& app, ServerFlags& flags, const std::string& what);

// --json, for one object.
void AddJson(CLI::App& app, bool& json);

// A length of time; 0 is one too.
void AddTime(CLI::App& app, const std::string& name, absl::Duration* time, const std::string& help);

// Text that travels in messages: UTF-8. A name without dashes is that of a position.
CLI::Option* AddText(CLI::App& app, const std::string& name, std::string& text,
                     const std::string& help);

// What is wrong with a text as AddText's; empty: nothing.
std::string CheckText(const std::string& text);

}  // namespace deweather

#endif  // DEWEATHER_CLIENT_FLAGS_H_
