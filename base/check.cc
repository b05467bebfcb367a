#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace cairn {

void CheckFailed(const char* file, int line, const char* text) {
  std::fprintf(stderr, "cairn: check failed at %s:%d: %s\n", file, line, text);
  std::fflush(stderr);
  std::abort();
}

}  // namespace cairn
