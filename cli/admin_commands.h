#pragma once
// What the commands that speak to the admin port have in common.

#include <memory>

#include "cli/admin_client.h"
#include "cli/commands.h"

namespace cairn::cli {

/// Runs `work` with a client for the node that --admin names.
template <class Work>
ExitCode WithAdmin(const Options& options, Work&& work) {
  Result<std::unique_ptr<AdminClient>> client = AdminClient::Make(options.replication.admin);
  if (client.ok()) return work(**client);
  // Only files of TLS that cannot be used.
  PrintError(client.status().message());
  return ExitCode::kUsage;
}

}  // namespace cairn::cli
