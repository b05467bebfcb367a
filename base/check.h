#pragma once
// Assertions. CAIRN_CHECK stays on in every build and ends the process with file, line and text:
// it guards invariants, never user input. CAIRN_DCHECK is for hot loops and vanishes with NDEBUG.

namespace cairn {
[[noreturn]] void CheckFailed(const char* file, int line, const char* text);
}  // namespace cairn

#define CAIRN_CHECK(cond)                              \
  do {                                                 \
    if (__builtin_expect(!(cond), 0)) {                \
      ::cairn::CheckFailed(__FILE__, __LINE__, #cond); \
    }                                                  \
  } while (false)

#ifdef NDEBUG
#define CAIRN_DCHECK(cond) \
  do {                     \
    (void)sizeof(cond);    \
  } while (false)
#else
#define CAIRN_DCHECK(cond) CAIRN_CHECK(cond)
#endif
