// Sends every line back.  echo [PORT].  SIGTERM or Ctrl-C lets everybody finish, for at most five seconds.
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <string>

#include <socketpool.hpp>

static volatile std::sig_atomic_t asked_to_stop = 0;

static void answer(socketpool::Connection client)
{
    client.receive();
    socketpool::View line;
    for (std::size_t taken; client.line(line, taken); client.consume(taken))
        if (client.send(line.data, taken) == socketpool::Sent::refused)
            return; // there is no room until the client has read some
}

// A port as the command line gives it. Ends the program if it is none.
static int port_of(const std::string &text)
{
    const bool is_number = !text.empty() && text.size() <= 5 && text.find_first_not_of("0123456789") == std::string::npos;
    if (is_number && std::stoi(text) <= 65535)
        return std::stoi(text);
    std::cerr << "echo: PORT is \"" << text << "\", must be a whole number from 0 to 65535\n";
    std::exit(2);
}

int main(int argc, char **argv) try {
    for (int number : {SIGTERM, SIGINT}) std::signal(number, [](int) { asked_to_stop = 1; });
    socketpool::Pool pool(10000);
    const int port = pool.listen("127.0.0.1", argc > 1 ? port_of(argv[1]) : 7000);
    std::cout << "listening on 127.0.0.1:" << port << std::endl;

    while (pool.state() != socketpool::State::drained) {
        if (asked_to_stop && pool.state() == socketpool::State::active)
            pool.drain(5000);
        pool.turn(200); // a signal that comes just before the wait is seen after it
        for (socketpool::Event event; pool.next(event);)
            if (event.kind == socketpool::Kind::readable || event.kind == socketpool::Kind::writable)
                answer(event.connection);
    }
} catch (const socketpool::Error &error) {
    std::cerr << "echo: " << error.what() << '\n';
    return 1;
}
