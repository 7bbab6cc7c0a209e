// Sends every line back.  echo [PORT].  SIGTERM or Ctrl-C lets everybody finish, for at most five seconds.
#include <csignal>
#include <cstdlib>
#include <iostream>

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

int main(int argc, char **argv) try {
    std::signal(SIGTERM, [](int) { asked_to_stop = 1; });
    std::signal(SIGINT, [](int) { asked_to_stop = 1; });
    socketpool::Pool pool(10000);
    int port = pool.listen("127.0.0.1", argc > 1 ? std::atoi(argv[1]) : 7000);
    std::cout << "listening on 127.0.0.1:" << port << std::endl;

    for (bool draining = false; pool.state() != socketpool::State::drained;) {
        if (asked_to_stop && !draining) {
            pool.drain(5000);
            draining = true;
        }
        pool.turn(200); // a signal that comes just before the wait is seen after it
        for (socketpool::Event event; pool.next(event);)
            if (event.kind == socketpool::Kind::readable || event.kind == socketpool::Kind::writable)
                answer(event.connection);
    }
} catch (const socketpool::Error &error) {
    std::cerr << "echo: " << error.what() << '\n';
    return 1;
}
