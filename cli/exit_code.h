#pragma once
// What the exit status of cairnctl means (docs/cairnctl.md has the same table) and how an error of ours
// becomes one.

#include "base/status.h"

namespace cairn::cli {

enum class ExitCode : int {
  kOk = 0,
  kDifference = 1,    // verify found a difference, or the key does not exist
  kUsage = 2,         // the command line or a local file makes no sense
  kNoConnection = 3,  // cannot connect, connection lost, or no answer in time
  kRefused = 4,       // the server answered an error; its name is printed
  kPartial = 5,       // something was done, but not everything
};

/// Of a Status that the client returned: kIoError and kTimeout concern the connection, kNotFound is a key
/// that is not there, everything else was said by the server. (Errors of the command line and of local
/// files never travel as a Status of the client.)
inline ExitCode ExitCodeOf(const Status& status) {
  switch (status.code()) {
    case Code::kOk:
      return ExitCode::kOk;
    case Code::kNotFound:
      return ExitCode::kDifference;
    case Code::kIoError:
    case Code::kTimeout:
      return ExitCode::kNoConnection;
    default:
      return ExitCode::kRefused;
  }
}

}  // namespace cairn::cli
