// Debian's RocksDB is not built for ThreadSanitizer, which therefore does not see its hand-offs between
// threads and reports them as races. Our own code around it stays checked.

extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() { return "race:librocksdb.so\n"; }
