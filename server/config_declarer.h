#pragma once
// How cairnd's settings are declared to CLI11: each kind with the checks that all of one kind share. Part of
// server/config.cc, which includes it; nobody else does.

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/size.h"
#include "server/config.h"

namespace cairn::server {

/// CLI11 does not break lines itself, but keeps those breaks that are there.
inline std::string Wrap(const std::string& text) {
  constexpr size_t kWidth = 66;
  std::string wrapped;
  size_t column = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t space = std::min(text.find(' ', at), text.size());
    const size_t word = space - at;
    if (column > 0 && column + 1 + word > kWidth) {
      wrapped += '\n';
      column = 0;
    } else if (column > 0) {
      wrapped += ' ';
      ++column;
    }
    wrapped.append(text, at, word);
    column += word;
    at = space + 1;
  }
  return wrapped;
}

/// Declares options of a group with the checks that all of one kind share.
class Declarer {
 public:
  Declarer(CLI::App& app, std::string group) : app_(app), group_(std::move(group)) {}

  void Number(const std::string& name, uint32_t& target, std::pair<uint32_t, uint32_t> range,
              const std::string& text) {
    app_.add_option(name, target, Wrap(text))
        ->group(group_)
        ->check(CLI::Range(range.first, range.second).description(""))
        ->type_name("N")
        ->capture_default_str();
  }

  void Size(const std::string& name, uint64_t& target, std::pair<uint64_t, uint64_t> range,
            const std::string& text) {
    const auto check = [range](const std::string& input) -> std::string {
      const Result<uint64_t> size = ParseSize(input);
      if (!size.ok()) return "'" + input + "' is not a size (examples: 512k, 64m, 1.5GiB)";
      if (*size >= range.first && *size <= range.second) return {};
      return input + " is outside of " + FormatBytes(range.first) + " to " + FormatBytes(range.second);
    };
    app_.add_option_function<std::string>(
            name, [&target](const std::string& input) { target = ParseSize(input).value(); }, Wrap(text))
        ->group(group_)
        ->check(CLI::Validator(check, "", name))
        ->type_name("SIZE")
        ->default_str(FormatBytes(target));
  }

  template <class Enum>
  void Choice(const std::string& name, Enum& target, const std::vector<std::pair<std::string, Enum>>& choices,
              const std::string& text) {
    std::string names;
    std::string current;
    std::vector<std::string> allowed;
    for (const auto& [choice, value] : choices) {
      names += (names.empty() ? "" : "|") + choice;
      allowed.push_back(choice);
      if (value == target) current = choice;
    }
    const auto assign = [&target, choices](const std::string& input) {
      for (const auto& [choice, value] : choices) {
        if (choice == input) target = value;
      }
    };
    const auto check = [allowed, names](const std::string& input) -> std::string {
      for (const std::string& choice : allowed) {
        if (choice == input) return {};
      }
      return "'" + input + "' is none of " + names;
    };
    app_.add_option_function<std::string>(name, assign, Wrap(text))
        ->group(group_)
        ->check(CLI::Validator(check, "", name))
        ->type_name(names)
        ->default_str(current);
  }

  CLI::Option* Text(const std::string& name, std::string& target, const std::string& type,
                    const std::string& text) {
    return app_.add_option(name, target, Wrap(text))->group(group_)->type_name(type);
  }

  void Flag(const std::string& name, bool& target, const std::string& text) {
    app_.add_flag(name, target, Wrap(text))->group(group_);
  }

 private:
  CLI::App& app_;
  const std::string group_;
};

/// What the flags of replication and administration say, before it is checked against the others.
struct ReplicationFlags {
  std::string tap_port = "0", admin_port = "0";  // a number, or "auto"
};

/// server/config_replication.cc
void DeclareReplication(CLI::App& app, Config& config, ReplicationFlags& flags);
/// Fills in what hangs on other settings (ports, the node's name), and checks all of it. Empty: it is well.
std::string FinishReplication(Config& config, const ReplicationFlags& flags, bool memory_only);

}  // namespace cairn::server
