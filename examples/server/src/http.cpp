#include "http.h"

#include <optional>
#include <utility>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <unordered_set>

#include "error.h"
#include "json_writer.h"

namespace server {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;
using std::chrono::milliseconds;

constexpr std::size_t kChunk = 4096;
constexpr std::size_t kLinger = 262144;  // bytes that are read and dropped after a refusal, so that it arrives
constexpr milliseconds kLingerTime{1000};

std::string_view view(beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace

struct HttpCounters {
  std::atomic<std::uint64_t> accepted{0}, refused{0}, open{0}, requests{0}, bad_requests{0}, timeouts{0};
};

// One thread and its connections, which no other thread touches.
struct HttpLoop {
  explicit HttpLoop(const HttpOptions& options, const HttpServer::Handler& handler, HttpCounters& counters)
      : options(options), handler(handler), counters(counters), io(1), work(io.get_executor()) {}

  const HttpOptions& options;
  const HttpServer::Handler& handler;
  HttpCounters& counters;
  asio::io_context io;
  asio::executor_work_guard<asio::io_context::executor_type> work;
  std::unordered_set<HttpConnection*> connections;
  bool draining = false;
  std::thread thread;
};

class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  using Stream = beast::basic_stream<tcp, asio::io_context::executor_type>;

  HttpConnection(HttpLoop& loop, Stream::socket_type socket) : loop_(loop), stream_(std::move(socket)) {}
  ~HttpConnection() { loop_.counters.open.fetch_sub(1); }

  void start() {
    error_code ignored;
    stream_.socket().set_option(tcp::no_delay(true), ignored);
    loop_.connections.insert(this);
    if (loop_.draining) return close();
    wait_for_request();
  }

  // Of a connection between two requests: there is nothing to answer.
  void close_if_idle() {
    if (state_ == State::idle) close();
  }
  void cut() { close(); }

  void reply(HttpResponse response) {
    asio::dispatch(loop_.io, [self = shared_from_this(), response = std::move(response)]() mutable {
      self->write(std::move(response));
    });
  }

 private:
  enum class State { idle, reading, answering, closing };

  // Waits for the first byte of a request, as long as connections may be idle.
  void wait_for_request() {
    state_ = State::idle;
    if (buffer_.size() > 0) return read_header();
    stream_.expires_after(milliseconds(loop_.options.idle_timeout_ms));
    stream_.async_read_some(buffer_.prepare(kChunk), [self = shared_from_this()](error_code error, std::size_t n) {
      if (error) return self->close();
      self->buffer_.commit(n);
      self->read_header();
    });
  }

  void read_header() {
    state_ = State::reading;
    parser_.emplace();
    parser_->header_limit(loop_.options.max_header_bytes);
    parser_->body_limit(
        std::max(loop_.options.max_body_bytes, loop_.options.max_import_bytes));  // until it is known whose
    stream_.expires_after(milliseconds(loop_.options.request_timeout_ms));
    http::async_read_header(stream_, buffer_, *parser_, [self = shared_from_this()](error_code error, std::size_t) {
      if (error) return self->refuse(error);
      self->read_body();
    });
  }

  void read_body() {
    const auto& message = parser_->get();
    const std::uint64_t limit = is_import() ? loop_.options.max_import_bytes : loop_.options.max_body_bytes;
    if (parser_->content_length().value_or(0) > limit) return refuse(http::error::body_limit);
    parser_->body_limit(limit);
    if (parser_->is_done()) return handle();
    if (beast::iequals(message[http::field::expect], "100-continue")) {
      static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      asio::async_write(stream_, asio::buffer(kContinue.data(), kContinue.size()),
                        [self = shared_from_this()](error_code error, std::size_t) {
                          if (error) return self->close();
                          self->read_rest();
                        });
      return;
    }
    read_rest();
  }

  void read_rest() {
    http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](error_code error, std::size_t) {
      if (error) return self->refuse(error);
      self->handle();
    });
  }

  void handle() {
    state_ = State::answering;
    stream_.expires_never();
    loop_.counters.requests.fetch_add(1, std::memory_order_relaxed);
    const auto& message = parser_->get();
    const std::string_view target = view(message.target());
    const std::size_t question = target.find('?');
    HttpRequest request;
    request.method = view(message.method_string());
    request.path = target.substr(0, question);
    request.query = question == target.npos ? std::string_view() : target.substr(question + 1);
    request.content_type = view(message[http::field::content_type]);
    request.authorization = view(message[http::field::authorization]);
    request.request_id = view(message["x-request-id"]);
    request.traceparent = view(message["traceparent"]);
    request.body = message.body();
    request.arrived = std::chrono::steady_clock::now();
    is_head_ = message.method() == http::verb::head;
    keep_alive_ = message.keep_alive();
    loop_.handler(request, HttpReply(shared_from_this()));
  }

  bool is_import() const {  // by the header, once it is read
    const beast::string_view target = parser_->get().target();
    const std::string_view path = view(target.substr(0, target.find('?')));
    return path.ends_with(":import") || path.ends_with(":setInventory");
  }

  // What cannot be read has one answer, and is the last of its connection.
  void refuse(error_code error) {
    if (error == beast::error::timeout) {
      loop_.counters.timeouts.fetch_add(1, std::memory_order_relaxed);
      return close();
    }
    if (error.category() != http::make_error_code(http::error::bad_version).category() ||
        error == http::error::end_of_stream || error == http::error::partial_message)
      return close();
    loop_.counters.bad_requests.fetch_add(1, std::memory_order_relaxed);
    keep_alive_ = is_head_ = false;
    HttpResponse response;
    if (error == http::error::header_limit) {
      response.status = 431;
      response.body = error_body(431, "header: is larger than " + std::to_string(loop_.options.max_header_bytes) +
                                          " bytes (http.max_header_bytes)");
    } else if (error == http::error::body_limit) {
      response.status = 413;
      response.body =
          error_body(413, is_import() ? "body: is larger than " + std::to_string(loop_.options.max_import_bytes) +
                                            " bytes (http.max_import_bytes)"
                                      : "body: is larger than " + std::to_string(loop_.options.max_body_bytes) +
                                            " bytes (http.max_body_bytes)");
    } else {
      response.status = 400;
      response.body = error_body(400, "request: is no HTTP/1.1: " + error.message());
    }
    write(std::move(response));
  }

  void write(HttpResponse response) {
    if (state_ == State::closing) return;
    if (loop_.draining) keep_alive_ = false;
    body_ = std::move(response.body);
    head_ = parser_ && parser_->get().version() == 10 ? "HTTP/1.0 " : "HTTP/1.1 ";
    append_json(head_, response.status);
    head_ += ' ';
    head_ += view(http::obsolete_reason(static_cast<http::status>(response.status)));
    head_ += "\r\nContent-Type: ";
    head_ += response.content_type;
    head_ += "\r\nContent-Length: ";
    append_json(head_, body_.size());
    for (const auto& [name, value] : response.headers) ((((head_ += "\r\n") += name) += ": ") += value);
    head_ +=
        keep_alive_ ? (parser_->get().version() == 10 ? "\r\nConnection: keep-alive" : "") : "\r\nConnection: close";
    head_ += "\r\n\r\n";
    stream_.expires_after(milliseconds(loop_.options.request_timeout_ms));
    const std::array<asio::const_buffer, 2> parts{asio::buffer(head_),
                                                  is_head_ ? asio::const_buffer() : asio::buffer(body_)};
    asio::async_write(stream_, parts, [self = shared_from_this()](error_code error, std::size_t) {
      if (error == beast::error::timeout) self->loop_.counters.timeouts.fetch_add(1, std::memory_order_relaxed);
      if (error) return self->close();
      if (self->keep_alive_ && !self->loop_.draining) return self->wait_for_request();
      self->linger();
    });
  }

  // A socket closed with bytes unread resets the connection, and the answer may be lost on its way.
  void linger() {
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream_.expires_after(kLingerTime);
    state_ = State::closing;
    drop();
  }
  void drop() {
    buffer_.clear();
    stream_.async_read_some(buffer_.prepare(kChunk), [self = shared_from_this()](error_code error, std::size_t n) {
      if (error || (self->dropped_ += n) > kLinger) return self->close();
      self->drop();
    });
  }

  void close() {
    state_ = State::closing;
    loop_.connections.erase(this);
    stream_.close();
  }

  HttpLoop& loop_;
  Stream stream_;
  State state_ = State::idle;
  beast::flat_buffer buffer_{std::size_t{1} << 23};
  std::optional<http::request_parser<http::string_body>> parser_;
  std::string head_, body_;
  bool keep_alive_ = false, is_head_ = false;
  std::size_t dropped_ = 0;
};

HttpReply::~HttpReply() {
  if (connection_) (*this)({.status = 500, .body = error_body(500, "the request was dropped")});
}

void HttpReply::operator()(HttpResponse response) {
  if (const auto connection = std::exchange(connection_, nullptr)) connection->reply(std::move(response));
}

class HttpServer::Impl {
 public:
  Impl(const HttpOptions& options, Handler handler) : options_(options), handler_(std::move(handler)) {
    for (int i = 0; i < options_.threads; ++i)
      loops_.push_back(std::make_unique<HttpLoop>(options_, handler_, counters_));
    acceptor_.emplace(loops_[0]->io);
    timer_.emplace(loops_[0]->io);
    try {
      const tcp::endpoint endpoint(asio::ip::make_address(options_.address), options_.port);
      acceptor_->open(endpoint.protocol());
      acceptor_->set_option(tcp::acceptor::reuse_address(true));
      acceptor_->bind(endpoint);
      acceptor_->listen(4096);
    } catch (const std::exception& error) {
      throw std::runtime_error("cannot listen on " + options_.address + ":" + std::to_string(options_.port) + ": " +
                               error.what());
    }
  }

  ~Impl() { stop(std::chrono::steady_clock::now()); }

  int port() const { return acceptor_->local_endpoint().port(); }

  void start() {
    accept();
    for (auto& loop : loops_) loop->thread = std::thread([&io = loop->io] { io.run(); });
  }

  void drain() {
    for (auto& loop : loops_)
      asio::post(loop->io, [this, &loop = *loop] {
        if (&loop == loops_[0].get()) {
          error_code ignored;
          acceptor_->close(ignored);
          timer_->cancel();
        }
        loop.draining = true;
        for (HttpConnection* connection : std::vector(loop.connections.begin(), loop.connections.end()))
          connection->close_if_idle();
      });
  }

  void stop(std::chrono::steady_clock::time_point deadline) {
    if (stopped_) return;
    stopped_ = true;
    drain();
    while (counters_.open > 0 && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(milliseconds(1));
    for (auto& loop : loops_) {
      asio::post(loop->io, [&loop = *loop] {
        for (HttpConnection* connection : std::vector(loop.connections.begin(), loop.connections.end()))
          connection->cut();
        loop.work.reset();
      });
      if (loop->thread.joinable()) loop->thread.join();
    }
  }

  Figures figures() const {
    return {counters_.accepted, counters_.refused,      counters_.open,
            counters_.requests, counters_.bad_requests, counters_.timeouts};
  }

 private:
  void accept() {
    if (!acceptor_->is_open()) return;  // nobody is accepted any more
    HttpLoop& loop = *loops_[next_++ % loops_.size()];
    acceptor_->async_accept(loop.io, [this, &loop](error_code error, HttpConnection::Stream::socket_type socket) {
      if (error == asio::error::operation_aborted || !acceptor_->is_open()) return;
      if (error) {  // out of descriptors, say: others close
        timer_->expires_after(milliseconds(100));
        timer_->async_wait([this](error_code aborted) {
          if (!aborted) accept();
        });
        return;
      }
      counters_.accepted.fetch_add(1);
      if (counters_.open >= static_cast<std::uint64_t>(options_.max_connections)) {
        counters_.refused.fetch_add(1);
      } else {
        counters_.open.fetch_add(1);
        auto connection = std::make_shared<HttpConnection>(loop, std::move(socket));
        asio::post(loop.io, [connection = std::move(connection)] { connection->start(); });
      }
      accept();
    });
  }

  const HttpOptions options_;
  const Handler handler_;
  HttpCounters counters_;
  std::vector<std::unique_ptr<HttpLoop>> loops_;
  std::optional<tcp::acceptor> acceptor_;
  std::optional<asio::steady_timer> timer_;
  std::size_t next_ = 0;
  bool stopped_ = false;
};

HttpServer::HttpServer(const HttpOptions& options, Handler handler)
    : impl_(std::make_unique<Impl>(options, std::move(handler))) {}
HttpServer::~HttpServer() = default;
int HttpServer::port() const { return impl_->port(); }
void HttpServer::start() { impl_->start(); }
void HttpServer::drain() { impl_->drain(); }
void HttpServer::stop(std::chrono::steady_clock::time_point deadline) { impl_->stop(deadline); }
HttpServer::Figures HttpServer::figures() const { return impl_->figures(); }

}  // namespace server
