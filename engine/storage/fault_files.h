#pragma once
// The file objects of FaultFileSystem: each asks it before it does anything, and tells it what became of it.
// `path` is normalized; `fs` outlives the object. Internal to fault_file_system.cc.

#include <rocksdb/file_system.h>

#include <memory>
#include <string>

namespace cairn::storage {

class FaultFileSystem;

std::unique_ptr<rocksdb::FSSequentialFile> WrapSequentialFile(
    FaultFileSystem* fs, std::string path, std::unique_ptr<rocksdb::FSSequentialFile> file);
std::unique_ptr<rocksdb::FSRandomAccessFile> WrapRandomAccessFile(
    FaultFileSystem* fs, std::string path, std::unique_ptr<rocksdb::FSRandomAccessFile> file);
std::unique_ptr<rocksdb::FSWritableFile> WrapWritableFile(FaultFileSystem* fs, std::string path,
                                                          std::unique_ptr<rocksdb::FSWritableFile> file);
std::unique_ptr<rocksdb::FSDirectory> WrapDirectory(FaultFileSystem* fs, std::string path,
                                                    std::unique_ptr<rocksdb::FSDirectory> directory);

}  // namespace cairn::storage
