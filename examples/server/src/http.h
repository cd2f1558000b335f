// HTTP/1.1 for few threads and many connections: requests in, one reply to each, in order, from whatever thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace server {

struct HttpOptions {
  std::string address = "127.0.0.1";
  int port = 8080;             // 0: one that is free
  int threads = 1;             // that read and write; answers are computed elsewhere
  int max_connections = 8192;  // beyond, the one that comes is closed at once
  int max_header_bytes = 8192;
  int max_body_bytes = 65536;
  int max_import_bytes = 4194304;  // of paths that end in ":import" or ":setInventory"
  int request_timeout_ms = 5000;   // from the first byte of a request to its last, and for an answer to be taken
  int idle_timeout_ms = 75000;     // between requests
  int grace_ms = 5000;             // from SIGTERM until nobody is accepted any more
};

// Views are good until the reply.
struct HttpRequest {
  std::string_view method, path, query;
  std::string_view content_type, authorization, request_id, traceparent;
  std::string_view body;
  std::chrono::steady_clock::time_point arrived;  // when its last byte was read
};

struct HttpResponse {
  int status = 200;
  std::string body;
  std::string_view content_type = "application/json";  // of static storage
  std::vector<std::pair<std::string_view, std::string>> headers = {};
};

class HttpConnection;

// The answer to one request. Thread-safe in that any thread may give it; the first counts. Dropped without one it
// answers 500.
class HttpReply {
 public:
  explicit HttpReply(std::shared_ptr<HttpConnection> connection) : connection_(std::move(connection)) {}
  HttpReply(HttpReply&&) = default;
  ~HttpReply();

  void operator()(HttpResponse response);

 private:
  std::shared_ptr<HttpConnection> connection_;
};

class HttpServer {
 public:
  using Handler = std::function<void(const HttpRequest&, HttpReply)>;  // on a thread of the server's; must not block

  // Listens from now on, and serves when run. Throws std::runtime_error where the port cannot be had.
  HttpServer(const HttpOptions& options, Handler handler);
  ~HttpServer();  // stops, if it has not

  int port() const;
  void start();
  // Accepts nobody any more, answers what is being read or computed, and closes connections as they fall idle.
  void drain();
  // Returns when all connections are closed, or at the deadline, when those that are left are cut.
  void stop(std::chrono::steady_clock::time_point deadline);

  struct Figures {
    std::uint64_t accepted, refused, open, requests, bad_requests, timeouts;
  };
  Figures figures() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace server
