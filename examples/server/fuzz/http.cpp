// Bytes that come in at a server's port: whole answers come back, each of HTTP, and the server goes on. The first byte
// says where the stream is cut in two.
//
// Connections are made on one end of a pair of sockets and run on this thread, without HttpServer around them: no run
// waits for a thread to get its turn.
#include "../src/http.cpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

#include "fuzz.h"

namespace {

std::vector<std::pair<server::HttpReply, server::HttpResponse>> later;  // answers that take their time

// Says back what it was asked, now and then as if from another thread.
void echo(const server::HttpRequest& request, server::HttpReply reply) {
  if (request.path == "/dropped") return;
  server::HttpResponse response{.body = std::string(request.body), .content_type = "text/plain"};
  if (!request.path.starts_with("/elsewhere")) return reply(std::move(response));
  later.emplace_back(std::move(reply), std::move(response));
}

struct AtHand {
  const server::HttpOptions options{.max_header_bytes = 1024, .max_body_bytes = 2048, .max_import_bytes = 4096};
  const server::HttpServer::Handler handler = echo;
  server::HttpCounters counters;
  server::HttpLoop loop{options, handler, counters};
};

class Client {
 public:
  explicit Client(AtHand& server) : server_(server) {
    int ends[2];
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    end_ = ends[0];
    server::HttpConnection::Stream::socket_type socket(server_.loop.io);
    socket.assign(server::tcp::v4(), ends[1]);
    server_.counters.open.fetch_add(1);
    std::make_shared<server::HttpConnection>(server_.loop, std::move(socket))->start();
  }

  void send(std::string_view bytes) {
    while (!bytes.empty() && !is_closed_) {
      const ssize_t n = ::send(end_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN) break;  // the server has closed
      if (n > 0) bytes.remove_prefix(n);
      FUZZ_CHECK(go_on() || n > 0);
    }
  }

  // All that came, once nothing more is sent and the server has closed, as it must without waiting for the time.
  std::string answers() {
    shutdown(end_, SHUT_WR);
    while (!is_closed_) FUZZ_CHECK(go_on());
    close(end_);
    while (go_on()) continue;
    FUZZ_CHECK(server_.counters.open == 0 && server_.loop.connections.empty());
    return std::move(answers_);
  }

 private:
  // Does what can be done now: false if there was nothing.
  bool go_on() {
    std::size_t done = server_.loop.io.poll();
    for (auto& [reply, response] : std::exchange(later, {})) reply(std::move(response)), ++done;
    char buffer[16384];
    ssize_t n = 0;
    while (!is_closed_ && (n = recv(end_, buffer, sizeof buffer, 0)) > 0) answers_.append(buffer, n), ++done;
    if (!is_closed_ && (n == 0 || errno != EAGAIN)) {
      FUZZ_CHECK(n == 0 || errno == ECONNRESET);
      is_closed_ = true;
      ++done;
    }
    return done > 0;
  }

  AtHand& server_;
  int end_ = -1;
  bool is_closed_ = false;
  std::string answers_;
};

std::string answers_to(std::string_view first, std::string_view rest) {
  static AtHand server;
  Client client(server);
  client.send(first);
  client.send(rest);
  return client.answers();
}

// Takes one answer off the front.
void take_answer(std::string_view& answers, bool is_head) {
  FUZZ_CHECK(answers.starts_with("HTTP/1.1 ") || answers.starts_with("HTTP/1.0 "));
  const std::size_t end = answers.find("\r\n\r\n");
  FUZZ_CHECK(end != answers.npos);
  const std::string_view head = answers.substr(0, end);
  answers.remove_prefix(end + 4);
  if (head == "HTTP/1.1 100 Continue") return;
  constexpr std::string_view kLength = "\r\nContent-Length: ";
  const std::size_t at = head.find(kLength);
  FUZZ_CHECK(at != head.npos);
  std::size_t length = 0;
  std::from_chars(head.data() + at + kLength.size(), head.data() + head.size(), length);
  FUZZ_CHECK(is_head || length <= answers.size());
  answers.remove_prefix(is_head ? 0 : length);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes = text_of(data + 1, size - 1);
  const std::size_t cut = data[0] * bytes.size() / 256;
  const std::string all = answers_to(bytes.substr(0, cut), bytes.substr(cut));
  // Of HEAD there is a length without a body; where one is among the requests, only the first answer is looked at.
  const bool has_head = bytes.find("HEAD") != bytes.npos;
  std::string_view answers = all;
  do {
    if (answers.empty()) break;
    take_answer(answers, has_head);
  } while (!has_head);
  static int runs = 0;
  if (++runs % 256 == 0) FUZZ_CHECK(answers_to("GET / HTTP/1.0\r\n\r\n", "").starts_with("HTTP/1.0 200"));
  return 0;
}
