// How jemalloc is set up, read by it before main.
//
// Freed pages go back to the system after a second, also from arenas that have fallen idle (their own threads
// would never do it), because resident memory is what operators watch and quotas promise. Slabs of the sizes
// that items and the table's blocks have are larger than usual: each slab costs 128 bytes of bookkeeping,
// which is one byte per item with the usual ones. Threads cache little: at most 64 of a size, and nothing
// above 4 KiB.

extern "C" {
extern const char* malloc_conf;
const char* malloc_conf =
    "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,lg_tcache_max:12,tcache_nslots_small_max:64,"
    "slab_sizes:80-80:10|96-96:12|112-112:14|128-128:16|160-160:20|192-192:24|224-224:28|256-256:32|512-512:"
    "32";
}
