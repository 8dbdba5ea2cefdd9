// The tests' hub as a program, for peers in other languages:
//   hub_server models/org/tiny=examples/tiny-model datasets/org/data=folder
// Prints its address and the token that it knows. Then each line on stdin is answered: "requests"
// with the requests since the last time, as "METHOD target" up to an empty line. Ends with stdin.
#include <iostream>
#include <string>

#include "hub/fake_hub.h"

int main(int argc, char** argv) {
  sft::testing::FakeHub hub;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const size_t equals = argument.find('=');
    hub.add_folder(argument.substr(0, equals), argument.substr(equals + 1), 10'000);
  }
  std::cout << hub.server->url() << " " << hub.token << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    for (const auto* server : {hub.server.get(), hub.storage.get()}) {
      for (const auto& request : server->requests()) {
        std::cout << request.method << " " << request.target << "\n";
      }
    }
    hub.server->forget();
    hub.storage->forget();
    std::cout << std::endl;
  }
}
