// The whole generator against a server in this process: a map behind the text protocol, one thread,
// loopback on a port of the kernel's choice.
#include "bench/loadgen/runner.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "bench/loadgen/report.h"

namespace cairn::loadgen {
namespace {

class MapServer {
 public:
  MapServer() : listener_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 100), 0);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Serve(); });
  }
  ~MapServer() {
    stop_ = true;
    thread_.join();
    for (const auto& [fd, input] : inputs_) close(fd);
    close(listener_);
  }

  uint16_t port() const { return port_; }
  std::map<std::string, std::string>& data() { return data_; }
  /// No answers while it is set.
  void Stall(bool stalled) { stalled_ = stalled; }
  /// Closes a connection instead of answering.
  void HangUp(bool hang_up) { hang_up_ = hang_up; }

 private:
  void Serve() {
    while (!stop_) {
      std::vector<pollfd> fds = {{listener_, POLLIN, 0}};
      for (const auto& [fd, input] : inputs_) fds.push_back({fd, POLLIN, 0});
      if (stalled_) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        continue;
      }
      if (poll(fds.data(), fds.size(), 5) <= 0) continue;
      if (fds[0].revents != 0) Accept();
      for (size_t i = 1; i < fds.size(); ++i) {
        if (fds[i].revents != 0) Read(fds[i].fd);
      }
    }
  }

  void Accept() {
    const int fd = accept(listener_, nullptr, nullptr);
    const int on = 1;
    // Answers leave in two parts; the second must not wait for the first one's acknowledgement.
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    inputs_[fd];
  }

  void Read(int fd) {
    char buffer[4096];
    const ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
    if (n <= 0 || hang_up_) {
      close(fd);
      inputs_.erase(fd);
      return;
    }
    inputs_[fd].append(buffer, static_cast<size_t>(n));
    std::string out;
    while (ExecuteOne(&inputs_[fd], &out)) {
    }
    // In two parts, so that the client has to put replies together.
    const size_t half = out.size() / 2;
    EXPECT_EQ(send(fd, out.data(), half, MSG_NOSIGNAL), static_cast<ssize_t>(half));
    EXPECT_EQ(send(fd, out.data() + half, out.size() - half, MSG_NOSIGNAL),
              static_cast<ssize_t>(out.size() - half));
  }

  bool ExecuteOne(std::string* in, std::string* out) {
    const size_t end = in->find("\r\n");
    if (end == std::string::npos) return false;
    std::vector<std::string> words = {""};
    for (const char c : in->substr(0, end)) {
      if (c == ' ') {
        words.emplace_back();
      } else {
        words.back() += c;
      }
    }
    if (words[0] == "set") {
      const size_t size = std::stoul(words[4]);
      if (in->size() < end + size + 4) return false;
      data_[words[1]] = in->substr(end + 2, size);
      in->erase(0, end + size + 4);
      *out += "STORED\r\n";
      return true;
    }
    for (size_t i = 1; i < words.size(); ++i) {
      const auto found = data_.find(words[i]);
      if (found == data_.end()) continue;
      *out += "VALUE " + words[i] + " 0 " + std::to_string(found->second.size()) + "\r\n" + found->second +
              "\r\n";
    }
    *out += "END\r\n";
    in->erase(0, end + 2);
    return true;
  }

  int listener_;
  uint16_t port_ = 0;
  std::map<int, std::string> inputs_;
  std::map<std::string, std::string> data_;  // used by the test only while nobody is connected
  std::atomic<bool> stop_ = false;
  std::atomic<bool> stalled_ = false;
  std::atomic<bool> hang_up_ = false;
  std::thread thread_;
};

class RunnerTest : public testing::Test {
 protected:
  RunnerTest() {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    options_.port = server_.port();
    options_.connections = 7;
    options_.keys = 500;
    options_.key_size = 12;
    options_.value_size = 40;
    options_.max_seconds = 20;
  }
  Outcome RunIt() {
    auto outcome = loadgen::Run(options_, clock_);
    EXPECT_TRUE(outcome.ok()) << outcome.status().ToString();
    return std::move(outcome).value();
  }
  void Load(uint32_t version) {
    Options load = options_;
    load.set_ratio = 1;
    load.order = Order::kOnce;
    load.ops = load.keys;
    load.depth = 9;
    load.version = version;
    const auto outcome = loadgen::Run(load, clock_);
    ASSERT_TRUE(outcome.ok());
    ASSERT_EQ(outcome->counters.stored, load.keys);
    ASSERT_TRUE(outcome->complete);
  }

  SystemClock clock_;
  Options options_;
  MapServer server_;
};

TEST_F(RunnerTest, LoadsEveryKeyOnceAndReadsThemAllBack) {
  Load(3);
  EXPECT_EQ(server_.data().size(), 500U);
  options_.ops = 3000;
  options_.depth = 4;
  options_.multiget = 5;
  options_.verify = true;
  options_.expect_version = 3;
  const Outcome outcome = RunIt();
  EXPECT_EQ(outcome.counters.hits, 3000U);
  EXPECT_EQ(outcome.counters.verify_failures, 0U);
  EXPECT_EQ(outcome.latency.count(), 600U);
  EXPECT_TRUE(outcome.complete);
  EXPECT_EQ(ExitCode(options_, outcome), 0);
}

TEST_F(RunnerTest, CountsTheKeysThatWereSetOnceEach) {
  options_.set_ratio = 1;
  options_.ops = 300;
  options_.count_distinct = true;
  const Outcome outcome = RunIt();
  EXPECT_EQ(outcome.counters.stored, 300U);
  EXPECT_EQ(outcome.distinct_sets, server_.data().size());
  EXPECT_LT(outcome.distinct_sets, 300U) << "300 draws of 500 keys repeat some";
  EXPECT_NE(JsonReport(options_, outcome).find("\"distinct_sets\":"), std::string::npos);
}

TEST_F(RunnerTest, NoticesMissesAndWrongValues) {
  Load(1);
  auto& data = server_.data();
  data.erase(data.begin());
  data.begin()->second[20] ^= 1;
  options_.order = Order::kOnce;
  options_.ops = options_.keys;
  options_.expect_version = 1;
  options_.verify = true;
  const Outcome outcome = RunIt();
  EXPECT_EQ(outcome.counters.misses, 1U);
  EXPECT_EQ(outcome.counters.hits, 499U);
  EXPECT_EQ(outcome.counters.verify_failures, 1U);
  EXPECT_EQ(ExitCode(options_, outcome), 4);
}

TEST_F(RunnerTest, OpenLoopKeepsItsRateAndChargesAStallToEveryOperation) {
  Load(0);
  options_.rate = 500;
  options_.seconds = 1.0;
  std::thread staller([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    server_.Stall(true);
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    server_.Stall(false);
  });
  const Outcome outcome = RunIt();
  staller.join();
  EXPECT_NEAR(static_cast<double>(outcome.counters.hits), 500, 20);
  EXPECT_GT(outcome.latency.max(), 300'000'000U);
  // 0.4 s of the 1 s were stalled, so over a fifth of the operations waited for 100 ms or more; a closed
  // loop would have charged seven.
  EXPECT_GT(outcome.latency.Percentile(80), 100'000'000U);
}

TEST_F(RunnerTest, OpenLoopEndsWhenAllIsDoneAndNothingIsOnTheWay) {
  options_.set_ratio = 1;
  options_.order = Order::kOnce;
  options_.ops = 21;
  options_.rate = 100;  // every answer is there long before the next request is due
  const int64_t before = clock_.SteadyNs();
  const Outcome outcome = RunIt();
  EXPECT_TRUE(outcome.complete);
  EXPECT_EQ(outcome.counters.stored, 21U);
  EXPECT_LT(clock_.SteadyNs() - before, 5'000'000'000);
}

TEST_F(RunnerTest, OpenLoopSaysWhatItCouldNotSend) {
  Load(0);
  server_.Stall(true);
  options_.rate = 1000;
  options_.seconds = 0.5;
  const Outcome outcome = RunIt();
  EXPECT_EQ(outcome.counters.hits, 0U);
  // Each of the 7 connections has one request on the way; the others never left.
  EXPECT_NEAR(static_cast<double>(outcome.unsent), 500 - 7, 20);
  EXPECT_EQ(ExitCode(options_, outcome), 3);
}

TEST_F(RunnerTest, EndsByItselfWhenTheServerIsSilent) {
  server_.Stall(true);
  options_.ops = 100;
  options_.max_seconds = 0.2;
  const Outcome outcome = RunIt();
  EXPECT_FALSE(outcome.complete);
  EXPECT_EQ(ExitCode(options_, outcome), 3);
}

TEST_F(RunnerTest, ReportsLostConnections) {
  server_.HangUp(true);
  options_.ops = 100;
  const Outcome outcome = RunIt();
  EXPECT_EQ(outcome.lost_connections, 7U);
  EXPECT_FALSE(outcome.complete);
  EXPECT_EQ(ExitCode(options_, outcome), 1);
}

TEST_F(RunnerTest, StopsOnASignalAndReportsWhatItHas) {
  Load(0);
  options_.seconds = 15;
  std::thread stopper([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    kill(getpid(), SIGTERM);
  });
  const int64_t before = clock_.SteadyNs();
  const Outcome outcome = RunIt();
  stopper.join();
  EXPECT_LT(clock_.SteadyNs() - before, 5'000'000'000);
  EXPECT_TRUE(outcome.interrupted);
  EXPECT_GT(outcome.counters.hits, 0U);
  EXPECT_EQ(ExitCode(options_, outcome), 0);
}

TEST_F(RunnerTest, MeasuresTheProcessItIsTold) {
  Load(0);
  options_.ops = 200;
  options_.server_pid = getpid();
  const Outcome outcome = RunIt();
  ASSERT_TRUE(outcome.server_before && outcome.server_after);
  EXPECT_GE(outcome.server_after->user_seconds, outcome.server_before->user_seconds);
  EXPECT_NE(JsonReport(options_, outcome).find("\"cpu_us_per_key\":"), std::string::npos);
}

TEST(JsonString, EscapesWhatJsonForbids) {
  EXPECT_EQ(JsonString("a\"b\\c\n\xff"), "\"a\\\"b\\\\c\\u000a\\u00ff\"");
}

}  // namespace
}  // namespace cairn::loadgen
