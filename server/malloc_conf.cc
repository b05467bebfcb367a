// How jemalloc is set up, read by it before main. Freed pages go back to the system after a second, also from
// arenas that have fallen idle (their own threads would never do it), because resident memory is what
// operators watch and quotas promise.

extern "C" {
extern const char* malloc_conf;
const char* malloc_conf = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";
}
