#pragma once
// What jemalloc holds for small allocations, by size class and including what is free in a slab: where
// memory goes that an allocation counter does not see. Shared by the table's memory test and benchmark.

#include <cstddef>
#include <cstdint>
#include <string>

// jemalloc's, when the program is linked with it. `old_size` and `set_size` in bytes.
extern "C" int mallctl(const char* name, void* old, size_t* old_size, void* set, size_t set_size)
    __attribute__((weak));

namespace cairn::hashtable {

inline bool HaveJemalloc() { return mallctl != nullptr; }

/// A number of jemalloc's by its name in mallctl; 0 when there is none.
template <class Number>
size_t JemallocNumber(const std::string& name) {
  Number value = 0;
  size_t size = sizeof(value);
  if (mallctl(name.c_str(), &value, &size, nullptr, 0) != 0) return 0;
  return static_cast<size_t>(value);
}

/// Makes the numbers current.
inline void RefreshJemallocStats() {
  mallctl("thread.tcache.flush", nullptr, nullptr, nullptr, 0);
  uint64_t epoch = 1;
  mallctl("epoch", nullptr, nullptr, &epoch, sizeof(epoch));
}

/// Bytes of all slabs in use, of all arenas, but for those of the size class of `except_bytes`.
inline size_t SlabBytes(size_t except_bytes) {
  RefreshJemallocStats();
  const size_t classes = JemallocNumber<unsigned>("arenas.nbins");
  size_t bytes = 0;
  size_t smaller = 0;
  for (size_t i = 0; i < classes; ++i) {
    const std::string number = std::to_string(i);
    const size_t size = JemallocNumber<size_t>("arenas.bin." + number + ".size");
    const bool except = except_bytes > smaller && except_bytes <= size;
    smaller = size;
    if (except) continue;
    constexpr const char* kAllArenas = "4096";  // MALLCTL_ARENAS_ALL
    bytes +=
        JemallocNumber<size_t>(std::string("stats.arenas.") + kAllArenas + ".bins." + number + ".curslabs") *
        JemallocNumber<size_t>("arenas.bin." + number + ".slab_size");
  }
  return bytes;
}

}  // namespace cairn::hashtable
