#include "failures.h"

#include <new>
#include <stdexcept>

#include "error.h"
#include "stamp/recommender.h"
#include "visits.h"

namespace server {

Failure failure_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return {e.status(), e.what()};
  } catch (const std::invalid_argument& e) {  // of the library: an unknown zone, rules that cannot be
    return {400, e.what()};
  } catch (const stamp::DeadlineExceeded&) {
    return {503, "the server was too busy to answer in time"};
  } catch (const stamp::Cancelled&) {
    return {503, "the server is ending"};
  } catch (const StoreUnavailable& e) {
    return {503, std::string("events cannot be stored now: ") + e.what()};
  } catch (const std::bad_alloc&) {
    return {503, "the server is out of memory"};
  } catch (const std::exception& e) {
    return {500, e.what()};
  } catch (...) {
    return {500, "unknown error"};
  }
}

}  // namespace server
