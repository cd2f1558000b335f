// What tests in Python want of the emulator that they start. bigtable_emulator [ADDRESS]
//   without it: says where Google's emulator is; 1 where there is none
//   ADDRESS: makes the table visits of the instance shop of the project shop there, with the family visits
#include <exception>
#include <iostream>

#include "emulator.h"

int main(int argc, char** argv) {
  using namespace server::bigtable::testing;
  if (argc < 2) {
    const std::string program = find_emulator();
    std::cout << program;
    return program.empty() ? 1 : 0;
  }
  try {
    create_table(argv[1], "projects/shop/instances/shop", "visits", {"visits"});
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
