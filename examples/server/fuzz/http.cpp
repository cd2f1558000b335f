// Bytes that come in at a server's port: whole answers come back, each of HTTP, and the server goes on. The first byte
// says where the stream is cut in two.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <thread>

#include "fuzz.h"
#include "http.h"

namespace {

// Says back what it was asked, from another thread now and then.
void echo(const server::HttpRequest& request, server::HttpReply reply) {
  if (request.path == "/dropped") return;
  server::HttpResponse response{.body = std::string(request.body), .content_type = "text/plain"};
  if (!request.path.starts_with("/elsewhere")) return reply(std::move(response));
  std::thread([reply = std::move(reply), response = std::move(response)]() mutable {
    reply(std::move(response));
  }).detach();
}

server::HttpServer& at_hand() {
  static server::HttpServer server({.port = 0,
                                    .max_header_bytes = 1024,
                                    .max_body_bytes = 2048,
                                    .max_import_bytes = 4096,
                                    .request_timeout_ms = 10000,
                                    .idle_timeout_ms = 10000},
                                   echo);
  static const bool started = (server.start(), true);
  static_cast<void>(started);
  return server;
}

// Every run has an address of its own: a port would be closed for a minute.
int connected(int port) {
  static std::uint32_t n = 0;
  const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in from{}, to{};
  from.sin_family = to.sin_family = AF_INET;
  from.sin_addr.s_addr = htonl(0x7f010000 + n++ % 0x7e0000);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<std::uint16_t>(port));
  FUZZ_CHECK(bind(client, reinterpret_cast<sockaddr*>(&from), sizeof from) == 0);
  FUZZ_CHECK(connect(client, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
  const timeval limit{5, 0};
  setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return client;
}

std::string answers_to(std::string_view first, std::string_view rest) {
  const int client = connected(at_hand().port());
  for (const std::string_view part : {first, rest})
    if (!part.empty()) static_cast<void>(!send(client, part.data(), part.size(), MSG_NOSIGNAL));
  shutdown(client, SHUT_WR);
  std::string answers;
  char buffer[16384];
  ssize_t n;
  while ((n = recv(client, buffer, sizeof buffer, 0)) > 0 || (n < 0 && errno == EINTR))
    if (n > 0) answers.append(buffer, n);
  FUZZ_CHECK(n == 0 || errno == ECONNRESET);  // and no timeout: the server closes
  close(client);
  return answers;
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
