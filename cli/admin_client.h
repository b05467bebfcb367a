#pragma once
// AdminClient: administration of one node (proto/admin.proto) as plain values. gRPC stays behind this face.
//
// Owned and used by one thread. Every call ends within its time; what a node answers is bounded by gRPC's
// message limit. Errors: kIoError (no connection), kTimeout (no answer in time), kNotFound never; everything
// else was said by the node, whose words, "NOT_SUPPORTED: …", are the message.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"

namespace cairn::cli {

struct AdminOptions {
  std::string address;  // HOST:PORT or [IPV6]:PORT
  // Files in PEM form, all three (TLS is always mutual) or none.
  std::string tls_cert, tls_key, tls_ca;
  int64_t timeout_ms = 10'000;

  bool tls() const { return !tls_cert.empty() || !tls_key.empty() || !tls_ca.empty(); }
};

/// Of a list of vbuckets; empty with `all` false means nothing.
struct VbucketChoice {
  bool all = true;
  std::vector<uint32_t> vbuckets;
};

struct NodeInfo {
  std::string version, name, uuid;  // uuid: 32 hexadecimal digits
  uint32_t vbucket_count = 0;
  std::string memcached_address, tap_address, data_dir;
  uint64_t uptime_ms = 0;
};

/// One vbucket's stream.
struct StreamRow {
  uint32_t vbucket = 0;
  std::string state;  // probe, backfill, stream, paused, ended
  uint64_t high = 0, sent = 0, applied = 0, persisted = 0;
  uint64_t lag_operations = 0, lag_us = 0;
  uint64_t backfill_sent = 0, backfill_total = 0;
  uint64_t verified = 0, verified_checkpoint = 0;
  bool digest_mismatch = false;
  std::string last_end;
};

/// A connection between the node and another, in one direction.
struct ConnectionRow {
  std::string name, address;
  bool producing = false;  // the node sends
  bool connected = false;
  uint64_t credits = 0, bytes = 0, messages = 0, operations = 0, backfilled_operations = 0;
  uint64_t reconnects = 0, connected_ms = 0;
  std::string last_error;
  uint64_t streams_total = 0, probing = 0, backfilling = 0, streaming = 0, waiting = 0, ended = 0;
  uint64_t lag_operations = 0, lag_us = 0;
  uint64_t backfill_sent = 0, backfill_total = 0;
  uint64_t verified = 0, mismatched = 0;
  std::vector<StreamRow> streams;  // only when asked for
};

struct ReplicationView {
  std::vector<ConnectionRow> connections;
  int64_t unix_ms = 0;
};

struct VbucketRow {
  uint32_t vbucket = 0;
  std::string state;
  uint64_t epoch = 0, history_uuid = 0;
  uint64_t high = 0, persisted = 0;
  uint64_t regain = 0;  // what it has given up in a rollback, and has not got again, goes so far; 0: nothing
  uint64_t digest = 0, items = 0;
  bool warm = false;
  std::string window;  // id of the online update that is open there; empty: none
};

struct DurabilityView {
  std::string level;
  uint32_t copies = 0;
  uint32_t timeout_ms = 0;
};

struct AddedSource {
  std::string address;
  uint32_t vbuckets = 0;
};

struct TakeoverPlan {
  std::string address;
  VbucketChoice choice;
  int64_t wait_ms = 0;  // the call ends by then
};

struct PromotePlan {
  uint64_t epoch_min = 0;
  bool force = false;   // also what has given operations up in a rollback
  int64_t wait_ms = 0;  // the call ends by then
};

class AdminClient {
 public:
  /// Connects with the first call. INVALID_ARGUMENT: a file of TLS cannot be read, or the key is missing.
  static Result<std::unique_ptr<AdminClient>> Make(const AdminOptions& options);
  ~AdminClient();
  AdminClient(const AdminClient&) = delete;
  AdminClient& operator=(const AdminClient&) = delete;

  const std::string& address() const;

  Result<NodeInfo> GetNode();
  Result<AddedSource> AddSource(const std::string& address, const VbucketChoice& choice,
                                const std::string& name);
  Result<uint32_t> RemoveSource(const std::string& address);
  Result<ReplicationView> ListReplication(bool streams);
  /// One state at once and then one per interval, until `on_state` answers false or the stream breaks. No
  /// state for the interval and the timeout: kTimeout.
  Status WatchReplication(int64_t interval_ms, const std::function<bool(const ReplicationView&)>& on_state);
  Result<std::vector<VbucketRow>> ListVbuckets(const VbucketChoice& choice);

  // How many vbuckets were changed. `wait_ms`: the call ends by then.
  Result<uint32_t> Promote(const VbucketChoice& choice, const PromotePlan& plan);
  Result<uint32_t> Demote(const VbucketChoice& choice, const std::string& state, int64_t wait_ms);
  /// `look` is called every quarter of a second while it runs.
  Result<uint32_t> Takeover(const TakeoverPlan& plan, const std::function<void()>& look);

  Result<DurabilityView> GetDurability();
  Result<DurabilityView> SetDurability(const DurabilityView& durability);

 private:
  struct Rep;
  explicit AdminClient(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

/// The error that a call ended with: `grpc_code` and `details` as gRPC has them. A node's own words begin
/// with the name of a code; without one it is the transport that speaks.
Status StatusOfAnswer(int grpc_code, const std::string& details, const AdminOptions& options);

}  // namespace cairn::cli
