// ConnectTcp and HeldWrites on real sockets: what waits, and what ends the waiting.

#include "tap/client_socket.h"

#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <vector>

#include "tests/tap/listener.h"

namespace cairn::tap {
namespace {

constexpr int kTimeoutMs = 5'000;

bool Corked(const UniqueFd& socket) {
  int value = 0;
  socklen_t size = sizeof(value);
  EXPECT_EQ(getsockopt(socket.get(), IPPROTO_TCP, TCP_CORK, &value, &size), 0);
  return value != 0;
}

TEST(ConnectTcp, ReachesAnAddressAndLocalhost) {
  const Listener listener;
  const std::atomic<bool> go_on{false};
  for (const char* const host : {"127.0.0.1", "localhost"}) {
    const Result<UniqueFd> socket = ConnectTcp(listener.At(host), kTimeoutMs, go_on);
    ASSERT_TRUE(socket.ok()) << socket.status().ToString();
    const UniqueFd accepted = listener.Accept();
    ASSERT_EQ(send(socket->get(), "x", 1, MSG_NOSIGNAL), 1);
    char byte = 0;
    EXPECT_EQ(recv(accepted.get(), &byte, 1, 0), 1);
  }
}

TEST(ConnectTcp, SaysWhyItCannot) {
  Listener listener;
  const std::string address = listener.At("127.0.0.1");
  listener.Close();
  const std::atomic<bool> go_on{false};
  const Result<UniqueFd> refused = ConnectTcp(address, kTimeoutMs, go_on);
  EXPECT_EQ(refused.code(), Code::kIoError);
  EXPECT_EQ(refused.status().message(), "cannot connect: Connection refused");
  EXPECT_EQ(ConnectTcp(listener.At("name.invalid"), kTimeoutMs, go_on).code(), Code::kNotSupported);
}

// A full backlog answers nothing.
TEST(ConnectTcp, GivesUpInTimeAndWhenToldTo) {
  const Listener listener(0);
  const std::string address = listener.At("127.0.0.1");
  std::atomic<bool> cancelled{false};
  std::vector<UniqueFd> filling;
  Result<UniqueFd> last(UniqueFd{});
  for (int i = 0; i < 64 && last.ok(); ++i) {
    last = ConnectTcp(address, 100, cancelled);
    if (last.ok()) filling.push_back(std::move(last).value());
  }
  EXPECT_EQ(last.code(), Code::kIoError);
  EXPECT_EQ(last.status().message(), "cannot connect: Connection timed out");
  cancelled = true;
  EXPECT_EQ(ConnectTcp(address, 600'000, cancelled).code(), Code::kCancelled);
}

class HeldWritesTest : public ::testing::Test {
 protected:
  HeldWritesTest() {
    socket_ = ConnectTcp(listener_.At("127.0.0.1"), kTimeoutMs, go_on_).value();
    peer_ = listener_.Accept();
    held_.Attach(socket_);
  }
  void ReceiveSmall(int count) {
    for (int i = 0; i < count; ++i) held_.Received(100);
  }
  void Send(const std::string& bytes) {
    ASSERT_EQ(send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  bool HasArrived() {
    char byte = 0;
    return recv(peer_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
  }
  // Waits for that many bytes, but not so long that the kernel would have sent them by itself.
  std::string Receive(size_t size) {
    const timeval patience{0, 150'000};
    setsockopt(peer_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    std::string bytes(size, 0);
    const ssize_t got = recv(peer_.get(), bytes.data(), size, MSG_WAITALL);
    return bytes.substr(0, got > 0 ? static_cast<size_t>(got) : 0);
  }

  const Listener listener_;
  const std::atomic<bool> go_on_{false};
  UniqueFd socket_, peer_;
  HeldWrites held_;
};

TEST_F(HeldWritesTest, NothingIsHeldUntilManySmallMessagesCame) {
  EXPECT_FALSE(Corked(socket_));
  ReceiveSmall(10);
  held_.Received(100'000);
  ReceiveSmall(15);
  EXPECT_FALSE(Corked(socket_));
  ReceiveSmall(1);
  EXPECT_TRUE(Corked(socket_));
}

TEST_F(HeldWritesTest, WhatIsHeldGoesWithTheNextMessageOfOurs) {
  ReceiveSmall(16);
  Send("update ");
  EXPECT_FALSE(HasArrived());
  Send("progress");
  held_.Written();
  EXPECT_EQ(Receive(15), "update progress");
  EXPECT_TRUE(Corked(socket_)) << "and what follows is held again";
}

TEST_F(HeldWritesTest, ALargeMessageOfOursIsNotHeld) {
  ReceiveSmall(16);
  held_.Writing(16'384);
  EXPECT_TRUE(Corked(socket_));
  held_.Writing(16'385);
  EXPECT_FALSE(Corked(socket_));
  Send("its beginning");
  EXPECT_EQ(Receive(13), "its beginning");
  held_.Written();
  EXPECT_TRUE(Corked(socket_));
}

// Whoever answers nearly every message is waited for.
TEST_F(HeldWritesTest, NothingIsHeldWhereFewMessagesComeBetweenTwoOfOurs) {
  for (int i = 0; i < 64; ++i) {
    ReceiveSmall(3);
    held_.Written();
    EXPECT_FALSE(Corked(socket_));
  }
  ReceiveSmall(16);
  EXPECT_TRUE(Corked(socket_));
  held_.Written();
  EXPECT_TRUE(Corked(socket_));
  ReceiveSmall(3);
  held_.Written();
  EXPECT_FALSE(Corked(socket_));
}

TEST_F(HeldWritesTest, ALargeMessageOrManyBytesEndTheWaiting) {
  ReceiveSmall(16);
  Send("a");
  held_.Received(4'097);
  EXPECT_EQ(Receive(1), "a");
  EXPECT_FALSE(Corked(socket_));
  ReceiveSmall(16);
  Send("b");
  for (int i = 0; i < 5; ++i) held_.Received(4'096);
  EXPECT_EQ(Receive(1), "b") << "the source's window must not run out meanwhile";
  EXPECT_TRUE(Corked(socket_));
}

TEST_F(HeldWritesTest, AfterReleaseNothingIsHeldAndTheConnectionEndsWithItsSocket) {
  ReceiveSmall(16);
  Send("last");
  held_.Release();
  EXPECT_EQ(Receive(4), "last");
  EXPECT_FALSE(Corked(socket_));
  ReceiveSmall(32);
  held_.Written();
  EXPECT_FALSE(Corked(socket_));
  socket_.Reset();
  char byte = 0;
  EXPECT_EQ(recv(peer_.get(), &byte, 1, 0), 0) << "no other descriptor keeps it open";
}

TEST_F(HeldWritesTest, WithoutASocketNothingHappens) {
  HeldWrites unattached;
  for (int i = 0; i < 20; ++i) unattached.Received(1);
  unattached.Written();
  unattached.Release();
}

}  // namespace
}  // namespace cairn::tap
