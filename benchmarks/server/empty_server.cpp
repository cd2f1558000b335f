// empty-server: the server's HTTP with nothing behind it, answering 900 bytes to whatever is asked, until SIGTERM. What
// it costs a request is what HTTP costs.
#include <csignal>
#include <iostream>

#include "http.h"

int main() {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  const std::string body = "{\"id\":\"" + std::string(900 - 9, '0') + "\"}";
  server::HttpServer http({.port = 0},
                          [&](const server::HttpRequest&, server::HttpReply reply) { reply({.body = body}); });
  http.start();
  std::cerr << "empty-server: at http://127.0.0.1:" << http.port() << '\n';
  int signal;
  sigwait(&ends, &signal);
}
