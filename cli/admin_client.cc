#include "cli/admin_client.h"

#include <fmt/format.h>
#include <grpc/support/log.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdlib>
#include <utility>

#include "proto/admin.grpc.pb.h"
#include "tap/tls.h"

namespace cairn::cli {
namespace {

namespace admin = ::cairn::admin::v1;
using std::chrono::milliseconds;
using std::chrono::system_clock;

// 65,536 vbuckets with all their failover entries are far below.
constexpr int kMessageBytesMax = 256 << 20;
constexpr int64_t kLookMs = 250;
// How much longer than the node we wait, so that its own answer about time arrives.
constexpr int64_t kGraceMs = 2'000;

Result<std::shared_ptr<grpc::ChannelCredentials>> Credentials(const AdminOptions& options) {
  if (!options.tls()) return grpc::InsecureChannelCredentials();
  if (options.tls_cert.empty() || options.tls_key.empty() || options.tls_ca.empty()) {
    return Status(Code::kInvalidArgument,
                  "--tls-cert, --tls-key and --tls-ca go together: TLS is always mutual");
  }
  // gRPC would say of files that do not fit only that there is no address to connect to.
  CAIRN_ASSIGN_OR_RETURN(const tap::TlsMaterial tls,
                         tap::LoadTls({options.tls_cert, options.tls_key, options.tls_ca}));
  grpc::SslCredentialsOptions ssl;
  ssl.pem_root_certs = tls.ca;
  ssl.pem_cert_chain = tls.certificate;
  ssl.pem_private_key = tls.key;
  return grpc::SslCredentials(ssl);
}

std::string Hex(const std::string& bytes) {
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return hex;
}

void FillSet(const VbucketChoice& choice, admin::VbucketSet* set) {
  set->set_all(choice.all);
  if (choice.all) return;
  for (const uint32_t vbucket : choice.vbuckets) set->add_vbuckets(vbucket);
}

StreamRow FromWire(const admin::Stream& wire) {
  StreamRow row;
  row.vbucket = wire.vbucket();
  row.state = wire.state();
  row.high = wire.high();
  row.sent = wire.sent();
  row.applied = wire.applied();
  row.persisted = wire.persisted();
  row.lag_operations = wire.lag_operations();
  row.lag_us = wire.lag_us();
  row.backfill_sent = wire.backfill_sent();
  row.backfill_total = wire.backfill_total();
  row.verified = wire.verified();
  row.verified_checkpoint = wire.verified_checkpoint();
  row.digest_mismatch = wire.digest_mismatch();
  row.last_end = wire.last_end();
  return row;
}

ConnectionRow FromWire(const admin::Connection& wire) {
  ConnectionRow row;
  row.name = wire.name();
  row.address = wire.address();
  row.producing = wire.producing();
  row.connected = wire.connected();
  row.credits = wire.credits();
  row.bytes = wire.bytes();
  row.messages = wire.messages();
  row.operations = wire.operations();
  row.backfilled_operations = wire.backfilled_operations();
  row.reconnects = wire.reconnects();
  row.connected_ms = wire.connected_ms();
  row.last_error = wire.last_error();
  row.streams_total = wire.stream_count();
  row.probing = wire.probing();
  row.backfilling = wire.backfilling();
  row.streaming = wire.streaming();
  row.waiting = wire.waiting();
  row.ended = wire.ended();
  row.lag_operations = wire.lag_operations();
  row.lag_us = wire.lag_us();
  row.backfill_sent = wire.backfill_sent();
  row.backfill_total = wire.backfill_total();
  row.verified = wire.verified();
  row.mismatched = wire.mismatched();
  for (const admin::Stream& stream : wire.streams()) row.streams.push_back(FromWire(stream));
  return row;
}

ReplicationView FromWire(const admin::ReplicationState& wire) {
  ReplicationView view;
  view.unix_ms = wire.unix_ms();
  for (const admin::Connection& connection : wire.connections()) {
    view.connections.push_back(FromWire(connection));
  }
  return view;
}

VbucketRow FromWire(const admin::Vbucket& wire) {
  VbucketRow row;
  row.vbucket = wire.vbucket();
  row.state = wire.state();
  row.epoch = wire.epoch();
  row.history_uuid = wire.history_uuid();
  row.high = wire.high();
  row.persisted = wire.persisted();
  row.regain = wire.regain();
  row.digest = wire.digest();
  row.items = wire.items();
  row.warm = wire.warm();
  row.window = Hex(wire.window_update_id());
  return row;
}

DurabilityView FromWire(const admin::Durability& wire) {
  return {wire.level(), wire.copies(), wire.timeout_ms()};
}

// The end of gRPC's sentence is what matters: "Connection refused".
std::string_view WhyUnreachable(std::string_view details) {
  for (const std::string_view words : {std::string_view("last error: "), std::string_view("UNKNOWN: ")}) {
    const size_t at = details.rfind(words);
    if (at != std::string_view::npos) details.remove_prefix(at + words.size());
  }
  return details;
}

// With TLS 1.3 a node says what it thinks of a certificate when the handshake is over for us: all that is
// seen here is that it hangs up.
std::string_view WhyHungUp(std::string_view details, const AdminOptions& options) {
  const auto says = [details](std::string_view words) {
    return details.find(words) != std::string_view::npos;
  };
  if (!says("Socket closed") && !says("Connection reset")) return "";
  return options.tls() ? ", as a node does that does not believe the certificate (--tls-cert)"
                       : ", as a node does that wants TLS there (--tls-cert, --tls-key, --tls-ca)";
}

// What went wrong is in the statuses that calls return; gRPC's own lines would stand between ours.
void SilenceRpcLog() {
  if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function([](gpr_log_func_args*) {});
}

}  // namespace

Status StatusOfAnswer(int grpc_code, const std::string& details, const AdminOptions& options) {
  const std::string& address = options.address;
  if (grpc_code == grpc::StatusCode::OK) return Status::Ok();
  if (const auto code = CodeFromName(details.substr(0, details.find(':'))); code && *code != Code::kOk) {
    // These would be taken for a broken connection, or for a key that is not there.
    const bool ours = *code == Code::kIoError || *code == Code::kTimeout || *code == Code::kNotFound;
    return Status(ours ? Code::kInternal : *code, details);
  }
  if (grpc_code == grpc::StatusCode::UNAVAILABLE) {
    return Status(Code::kIoError, fmt::format("cannot reach the admin port {}: {}{}", address,
                                              WhyUnreachable(details), WhyHungUp(details, options)));
  }
  if (grpc_code == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return Status(Code::kTimeout, fmt::format("no answer in time from the admin port {}", address));
  }
  if (grpc_code == grpc::StatusCode::UNIMPLEMENTED) {
    return Status(Code::kNotSupported, fmt::format("{} does not know this command", address));
  }
  return Status(Code::kInternal, fmt::format("{}: {} (gRPC status {})", address, details, grpc_code));
}

struct AdminClient::Rep {
  AdminOptions options;
  std::unique_ptr<admin::Admin::Stub> stub;

  Status Error(const grpc::Status& status) const {
    return StatusOfAnswer(status.error_code(), status.error_message(), options);
  }

  template <class Request, class Reply>
  using Method = grpc::Status (admin::Admin::Stub::*)(grpc::ClientContext*, const Request&, Reply*);

  template <class Request, class Reply>
  Result<Reply> Call(Method<Request, Reply> method, const Request& request, int64_t timeout_ms) const {
    grpc::ClientContext context;
    context.set_deadline(system_clock::now() + milliseconds(timeout_ms));
    Reply reply;
    const grpc::Status status = (stub.get()->*method)(&context, request, &reply);
    if (!status.ok()) return Error(status);
    return reply;
  }
};

AdminClient::AdminClient(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
AdminClient::~AdminClient() = default;
const std::string& AdminClient::address() const { return rep_->options.address; }

Result<std::unique_ptr<AdminClient>> AdminClient::Make(const AdminOptions& options) {
  CAIRN_ASSIGN_OR_RETURN(const auto credentials, Credentials(options));
  SilenceRpcLog();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
  // A node is asked directly, whatever proxy the environment names for the web.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A connection of its own: a node limits the calls on one, and a watch takes one for good.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  auto rep = std::make_unique<Rep>();
  rep->options = options;
  rep->stub = admin::Admin::NewStub(grpc::CreateCustomChannel(options.address, credentials, arguments));
  return std::unique_ptr<AdminClient>(new AdminClient(std::move(rep)));
}

Result<NodeInfo> AdminClient::GetNode() {
  CAIRN_ASSIGN_OR_RETURN(
      const admin::Node node,
      rep_->Call(&admin::Admin::Stub::GetNode, admin::GetNodeRequest(), rep_->options.timeout_ms));
  NodeInfo info;
  info.version = node.version();
  info.name = node.name();
  info.uuid = Hex(node.uuid());
  info.vbucket_count = node.vbucket_count();
  info.memcached_address = node.memcached_address();
  info.tap_address = node.tap_address();
  info.data_dir = node.data_dir();
  info.uptime_ms = node.uptime_ms();
  return info;
}

Result<AddedSource> AdminClient::AddSource(const std::string& address, const VbucketChoice& choice,
                                           const std::string& name) {
  admin::AddSourceRequest request;
  request.set_address(address);
  FillSet(choice, request.mutable_vbuckets());
  request.set_name(name);
  CAIRN_ASSIGN_OR_RETURN(const admin::AddSourceReply reply,
                         rep_->Call(&admin::Admin::Stub::AddSource, request, rep_->options.timeout_ms));
  return AddedSource{reply.address(), reply.vbuckets()};
}

Result<uint32_t> AdminClient::RemoveSource(const std::string& address) {
  admin::RemoveSourceRequest request;
  request.set_address(address);
  CAIRN_ASSIGN_OR_RETURN(const admin::RemoveSourceReply reply,
                         rep_->Call(&admin::Admin::Stub::RemoveSource, request, rep_->options.timeout_ms));
  return reply.vbuckets();
}

Result<ReplicationView> AdminClient::ListReplication(bool streams) {
  admin::ListReplicationRequest request;
  request.set_streams(streams);
  CAIRN_ASSIGN_OR_RETURN(const admin::ReplicationState state,
                         rep_->Call(&admin::Admin::Stub::ListReplication, request, rep_->options.timeout_ms));
  return FromWire(state);
}

Status AdminClient::WatchReplication(int64_t interval_ms,
                                     const std::function<bool(const ReplicationView&)>& on_state) {
  admin::WatchReplicationRequest request;
  request.set_interval_ms(static_cast<uint32_t>(interval_ms));
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  // Declared last, so that it is gone before the queue: a cancelled call still answers its tags.
  const auto reader = rep_->stub->AsyncWatchReplication(&context, request, &queue, nullptr);
  admin::ReplicationState state;
  grpc::Status status;
  Status result;
  bool finishing = false;
  bool starting = true;
  void* tag = nullptr;
  bool taken = false;
  while (true) {
    const auto deadline = system_clock::now() + milliseconds(interval_ms + rep_->options.timeout_ms);
    const auto next = queue.AsyncNext(&tag, &taken, deadline);
    if (next == grpc::CompletionQueue::TIMEOUT) {
      result = Status(Code::kTimeout, fmt::format("no answer in time from the admin port {}", address()));
      context.TryCancel();
      continue;
    }
    if (next == grpc::CompletionQueue::SHUTDOWN || finishing) break;
    if (taken && !starting && !on_state(FromWire(state))) {
      context.TryCancel();
      queue.Shutdown();
      while (queue.Next(&tag, &taken)) {
      }
      return Status::Ok();
    }
    if (taken) {
      starting = false;
      reader->Read(&state, nullptr);
    } else {
      finishing = true;
      reader->Finish(&status, nullptr);
    }
  }
  queue.Shutdown();
  while (queue.Next(&tag, &taken)) {
  }
  return result.ok() ? rep_->Error(status) : result;
}

Result<std::vector<VbucketRow>> AdminClient::ListVbuckets(const VbucketChoice& choice) {
  admin::ListVbucketsRequest request;
  FillSet(choice, request.mutable_vbuckets());
  CAIRN_ASSIGN_OR_RETURN(const admin::ListVbucketsReply reply,
                         rep_->Call(&admin::Admin::Stub::ListVbuckets, request, rep_->options.timeout_ms));
  std::vector<VbucketRow> rows;
  rows.reserve(static_cast<size_t>(reply.vbuckets_size()));
  for (const admin::Vbucket& vbucket : reply.vbuckets()) rows.push_back(FromWire(vbucket));
  return rows;
}

Result<uint32_t> AdminClient::Promote(const VbucketChoice& choice, const PromotePlan& plan) {
  admin::PromoteRequest request;
  FillSet(choice, request.mutable_vbuckets());
  request.set_epoch_min(plan.epoch_min);
  request.set_force(plan.force);
  CAIRN_ASSIGN_OR_RETURN(const admin::ChangeReply reply,
                         rep_->Call(&admin::Admin::Stub::Promote, request, plan.wait_ms));
  return reply.vbuckets();
}

Result<uint32_t> AdminClient::Demote(const VbucketChoice& choice, const std::string& state, int64_t wait_ms) {
  admin::DemoteRequest request;
  FillSet(choice, request.mutable_vbuckets());
  request.set_state(state);
  CAIRN_ASSIGN_OR_RETURN(const admin::ChangeReply reply,
                         rep_->Call(&admin::Admin::Stub::Demote, request, wait_ms));
  return reply.vbuckets();
}

Result<uint32_t> AdminClient::Takeover(const TakeoverPlan& plan, const std::function<void()>& look) {
  admin::TakeoverRequest request;
  request.set_address(plan.address);
  FillSet(plan.choice, request.mutable_vbuckets());
  request.set_timeout_ms(static_cast<uint32_t>(plan.wait_ms));
  grpc::ClientContext context;
  context.set_deadline(system_clock::now() + milliseconds(plan.wait_ms + kGraceMs));
  grpc::CompletionQueue queue;
  const auto call = rep_->stub->AsyncTakeover(&context, request, &queue);
  admin::ChangeReply reply;
  grpc::Status status;
  call->Finish(&reply, &status, nullptr);
  void* tag = nullptr;
  bool taken = false;
  // Ends by the deadline at the latest: the call's tag then comes with an error.
  while (queue.AsyncNext(&tag, &taken, system_clock::now() + milliseconds(kLookMs)) ==
         grpc::CompletionQueue::TIMEOUT) {
    look();
  }
  queue.Shutdown();
  while (queue.Next(&tag, &taken)) {
  }
  if (!status.ok()) return rep_->Error(status);
  return reply.vbuckets();
}

Result<DurabilityView> AdminClient::GetDurability() {
  CAIRN_ASSIGN_OR_RETURN(const admin::Durability reply,
                         rep_->Call(&admin::Admin::Stub::GetDurability, admin::GetDurabilityRequest(),
                                    rep_->options.timeout_ms));
  return FromWire(reply);
}

Result<DurabilityView> AdminClient::SetDurability(const DurabilityView& durability) {
  admin::Durability request;
  request.set_level(durability.level);
  request.set_copies(durability.copies);
  request.set_timeout_ms(durability.timeout_ms);
  CAIRN_ASSIGN_OR_RETURN(const admin::Durability reply,
                         rep_->Call(&admin::Admin::Stub::SetDurability, request, rep_->options.timeout_ms));
  return FromWire(reply);
}

}  // namespace cairn::cli
