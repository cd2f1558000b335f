#include "generator.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <deque>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <stdexcept>
#include <system_error>

namespace load {

namespace {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

constexpr auto kLookForTimeouts = std::chrono::milliseconds(50);

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

Usage usage_of(const std::string& process) {
  std::ifstream file("/proc/" + process + "/stat");
  std::string stat{std::istreambuf_iterator<char>(file), {}};
  const std::size_t name_end = stat.rfind(')');  // of the program, which may hold anything
  if (name_end == stat.npos) throw std::runtime_error("there is no process " + process);
  const char* at = stat.data() + name_end + 1;
  double fields[22];  // from the third on: utime is the 14th, stime the 15th, rss the 24th
  at += 2;            // the state, a letter
  for (int i = 1; i < 22; ++i) fields[i] = std::strtod(at, const_cast<char**>(&at));
  return {.cpu_s = (fields[11] + fields[12]) / static_cast<double>(sysconf(_SC_CLK_TCK)),
          .rss_mib = fields[21] * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20)};
}

struct Due {
  Time time;
  Kind kind;
};

struct Connection {
  int fd = -1;
  bool is_busy = false, is_connected = false;
  Due due;
  Look look;
  Time sent;
  std::string out, in;
  std::size_t out_done = 0;
};

// An answer's head, once it is whole.
struct Head {
  int status = 0;
  std::size_t body_at = 0, body_size = 0;
  bool closes = false;
};

bool equal_but_for_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

// False while bytes are missing. Throws std::invalid_argument for what cannot be an answer, or has no length.
bool read_head(std::string_view in, Head& head) {
  const std::size_t end = in.find("\r\n\r\n");
  if (end == in.npos) return false;
  const auto number = [](std::string_view text) {
    std::size_t value = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc())
      throw std::invalid_argument("");
    return value;
  };
  if (!in.starts_with("HTTP/1.1 ")) throw std::invalid_argument("");
  head.status = static_cast<int>(number(in.substr(9, 3)));
  head.body_at = end + 4;
  bool has_length = false;
  for (std::size_t at = in.find("\r\n") + 2; at < end;) {
    const std::size_t line_end = in.find("\r\n", at), colon = in.find(':', at);
    if (colon < line_end) {
      const std::string_view name = in.substr(at, colon - at);
      std::string_view value = in.substr(colon + 1, line_end - colon - 1);
      while (value.starts_with(' ')) value.remove_prefix(1);
      if (equal_but_for_case(name, "Content-Length")) {
        head.body_size = number(value);
        has_length = true;
      } else if (equal_but_for_case(name, "Connection")) {
        head.closes = equal_but_for_case(value, "close");
      }
    }
    at = line_end + 2;
  }
  if (!has_length) throw std::invalid_argument("");
  return true;
}

class Generator {
 public:
  Generator(const Options& options, Visitors& visitors)
      : options_(options), visitors_(visitors), random_(options.seed), gap_(options.rate) {
    prctl(PR_SET_TIMERSLACK, 1);  // else sleep ends 50 us late
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ < 0) fail("epoll_create1");
    pool_.resize(options.closed > 0 ? options.closed : options.connections);
    for (auto& connection : pool_) {
      connection = std::make_unique<Connection>();
      idle_.push_back(connection.get());
    }
    address_.sin_family = AF_INET;
    address_.sin_port = htons(static_cast<std::uint16_t>(options.port));
    if (inet_pton(AF_INET, options.host.c_str(), &address_.sin_addr) != 1)
      throw std::runtime_error("--host: " + options.host + " is no IPv4 address");
  }
  ~Generator() {
    for (auto& connection : pool_)
      if (connection->fd >= 0) ::close(connection->fd);
    ::close(epoll_);
  }

  Outcome run() {
    const auto seconds = [](double s) {
      return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
    };
    const Time began = Clock::now();
    from_ = began + seconds(options_.warm);
    to_ = from_ + seconds(options_.seconds);
    const Time last = to_ + std::chrono::milliseconds(options_.timeout_ms);
    next_ = began + next_gap();
    Time look = began;
    std::array<epoll_event, 256> events;
    for (;;) {
      const Time now = Clock::now();
      mark(now);
      plan(now);
      while (!waiting_.empty() && !idle_.empty() && now < last) start();
      if (now >= to_ && busy_ == 0 && (waiting_.empty() || now >= last)) break;
      if (now >= look) {
        drop_overdue(now);
        look = now + kLookForTimeouts;
      }
      Time wake = look;
      if (now < from_) wake = std::min(wake, from_);
      if (now < to_) wake = std::min(wake, options_.closed > 0 ? to_ : next_);
      const auto pause = std::max<std::int64_t>(0, std::chrono::nanoseconds(wake - Clock::now()).count());
      const timespec timeout{.tv_sec = pause / 1'000'000'000, .tv_nsec = pause % 1'000'000'000};
      const int n = epoll_pwait2(epoll_, events.data(), events.size(), &timeout, nullptr);
      if (n < 0 && errno != EINTR) fail("epoll_pwait2");
      for (int i = 0; i < n; ++i) handle(*static_cast<Connection*>(events[i].data.ptr), events[i].events);
    }
    for (const Due& due : waiting_) counts().unsent += counted(due);
    return std::move(outcome_);
  }

 private:
  Counts& counts() { return outcome_.counts; }
  bool counted(const Due& due) const { return due.time >= from_ && due.time < to_; }

  Clock::duration next_gap() {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(gap_(random_)));
  }
  Kind next_kind() { return std::bernoulli_distribution(options_.writes)(random_) ? Kind::write : Kind::predict; }

  // What is due by now. In a closed loop, as much as there is room for.
  void plan(Time now) {
    const auto add = [this](Time time) {
      waiting_.push_back({time, next_kind()});
      counts().due += counted(waiting_.back());
    };
    if (options_.closed > 0) {
      while (now < to_ && waiting_.size() < idle_.size()) add(now);
      return;
    }
    for (; next_ <= now && next_ < to_; next_ += next_gap()) add(next_);
  }

  // The processes, as counting begins and ends.
  void mark(Time now) {
    const auto look = [&](Usage& own, Usage& server) {
      own = usage_of("self");
      if (options_.pid > 0) server = usage_of(std::to_string(options_.pid));
    };
    if (!began_counting_ && now >= from_) {
      began_counting_ = true;
      from_marked_ = now;
      look(outcome_.own_before, outcome_.server_before);
    }
    if (!ended_counting_ && now >= to_) {
      ended_counting_ = true;
      outcome_.seconds = std::chrono::duration<double>(now - from_marked_).count();
      look(outcome_.own_after, outcome_.server_after);
    }
  }

  void start() {
    const Due due = waiting_.front();
    waiting_.pop_front();
    Connection& connection = *idle_.back();
    idle_.pop_back();
    connection.is_busy = true;
    ++busy_;
    connection.due = due;
    connection.sent = Clock::now();
    connection.look = due.kind == Kind::write ? visitors_.next() : visitors_.ask();
    compose(connection);
    if (counted(due)) counts().late.add(connection.sent - due.time);
    if (connection.fd < 0) return open(connection);
    send(connection);
  }

  void compose(Connection& connection) {
    const std::vector<std::string_view> products = visitors_.products(connection.look);
    body_.clear();
    const auto user_event = [&] {
      ((body_ += R"({"eventType":"detail-page-view","visitorId":")") += visitors_.visitor(connection.look)) +=
          R"(","productDetails":[{"product":{"id":")";
      (body_ += products.back()) += R"("}}]})";
    };
    if (connection.due.kind == Kind::write) {
      user_event();
    } else {
      if (options_.is_inline) {
        body_ += R"({"events":[)";
        for (const std::string_view product : products)
          ((body_ += body_.back() == '[' ? "\"" : ",\"") += product) += '"';
        body_ += ']';
      } else {
        body_ += R"({"userEvent":)";
        user_event();
      }
      (body_ += R"(,"pageSize":)") += std::to_string(options_.k);
      body_ += '}';
    }
    std::string& out = connection.out;
    out = "POST /v1/";
    if (connection.due.kind == Kind::write)
      out += "userEvents:write";
    else
      ((out += "servingConfigs/") += options_.zone) += ":predict";
    out += " HTTP/1.1\r\nHost: stamp\r\nContent-Type: application/json\r\n";
    if (!options_.key.empty()) ((out += "Authorization: Bearer ") += options_.key) += "\r\n";
    ((out += "Content-Length: ") += std::to_string(body_.size())) += "\r\n\r\n";
    out += body_;
    connection.out_done = 0;
    connection.in.clear();
  }

  void open(Connection& connection) {
    connection.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection.fd < 0) fail("socket");
    const int one = 1;
    setsockopt(connection.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connection.is_connected = false;
    if (connect(connection.fd, reinterpret_cast<sockaddr*>(&address_), sizeof address_) < 0 && errno != EINPROGRESS)
      return end(connection, counts().no_connection);
    watch(connection, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
  }

  void watch(Connection& connection, int operation, std::uint32_t what) {
    epoll_event event{.events = what, .data = {.ptr = &connection}};
    if (epoll_ctl(epoll_, operation, connection.fd, &event) < 0) fail("epoll_ctl");
  }

  void send(Connection& connection) {
    while (connection.out_done < connection.out.size()) {
      const ssize_t n = ::send(connection.fd, connection.out.data() + connection.out_done,
                               connection.out.size() - connection.out_done, MSG_NOSIGNAL);
      if (n < 0 && errno == EAGAIN) return watch(connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
      if (n < 0) return end(connection, counts().closed);
      connection.out_done += static_cast<std::size_t>(n);
    }
  }

  void handle(Connection& connection, std::uint32_t events) {
    if (connection.fd < 0) return;
    if (events & EPOLLOUT) {
      if (!connection.is_connected) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(connection.fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error != 0) return end(connection, counts().no_connection);
        connection.is_connected = true;
      }
      watch(connection, EPOLL_CTL_MOD, EPOLLIN);
      send(connection);
    } else if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
      receive(connection);
    }
  }

  void receive(Connection& connection) {
    char bytes[65536];
    const ssize_t n = recv(connection.fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      auto& error = connection.is_connected ? counts().closed : counts().no_connection;
      return connection.is_busy ? end(connection, error) : disconnect(connection);
    }
    if (!connection.is_busy) return disconnect(connection);  // nothing was asked
    connection.in.append(bytes, static_cast<std::size_t>(n));
    Head head;
    try {
      if (!read_head(connection.in, head)) return;
    } catch (const std::invalid_argument&) {
      return end(connection, counts().malformed);
    }
    if (connection.in.size() < head.body_at + head.body_size) return;
    if (connection.in.size() > head.body_at + head.body_size) return end(connection, counts().malformed);
    answered(connection, head);
  }

  void answered(Connection& connection, const Head& head) {
    const Time now = Clock::now();
    outcome_.answered += began_counting_ && !ended_counting_;
    const bool is_write = connection.due.kind == Kind::write;
    if (is_write && head.status == 200) visitors_.written(connection.look);
    if (counted(connection.due)) {
      const auto took = now - connection.due.time;
      ++counts().statuses[head.status];
      if (head.status == 200) {
        Counts::Answered& of = counts().of[static_cast<std::size_t>(connection.due.kind)];
        of.time.add(took);
        of.good += std::chrono::duration<double, std::milli>(took).count() <= options_.within_ms;
        if (!is_write) {
          const std::string_view body = std::string_view(connection.in).substr(head.body_at);
          of.degraded += body.find("\"degraded\"") != body.npos;
          of.empty += body.find("\"id\"") == body.npos;
        }
      } else {
        counts().other_time.add(took);
      }
    }
    if (head.closes) disconnect(connection);
    release(connection);
  }

  // Without an answer.
  void end(Connection& connection, std::uint64_t& error) {
    error += counted(connection.due);
    disconnect(connection);
    release(connection);
  }

  // The connection that was used last is the next: the pool is as large as it has to be.
  void release(Connection& connection) {
    connection.is_busy = false;
    --busy_;
    idle_.push_back(&connection);
  }

  static void disconnect(Connection& connection) {
    ::close(connection.fd);
    connection.fd = -1;
  }

  void drop_overdue(Time now) {
    const Time earliest = now - std::chrono::milliseconds(options_.timeout_ms);
    for (auto& connection : pool_)
      if (connection->is_busy && connection->sent < earliest) end(*connection, counts().timeouts);
  }

  const Options& options_;
  Visitors& visitors_;
  std::mt19937_64 random_;
  std::exponential_distribution<double> gap_;
  int epoll_;
  sockaddr_in address_{};
  std::vector<std::unique_ptr<Connection>> pool_;
  std::vector<Connection*> idle_;
  std::deque<Due> waiting_;
  std::size_t busy_ = 0;
  std::string body_;
  Time from_, to_, next_, from_marked_;
  bool began_counting_ = false, ended_counting_ = false;
  Outcome outcome_;
};

}  // namespace

Outcome run(const Options& options, Visitors& visitors) { return Generator(options, visitors).run(); }

}  // namespace load
