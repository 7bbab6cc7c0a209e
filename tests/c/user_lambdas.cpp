// A C++ program over the header for C++: functions that it gives the pool throw, the exceptions reach it unharmed through every
// call that runs them, and the pool goes on as if they had returned.
#include <cerrno>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <socketpool.hpp>

#include "client.h"

namespace {

struct Refusal : std::runtime_error {
    Refusal() : std::runtime_error("a client said no") {}
};

// Whether it is run to its end however it is left.
struct Counted {
    explicit Counted(int &count) : count_(count) { ++count_; }
    ~Counted() { --count_; }
    Counted(const Counted &) = delete;
    Counted &operator=(const Counted &) = delete;

private:
    int &count_;
};

struct Server {
    socketpool::Pool pool{10};
    int port = pool.listen("127.0.0.1", 0);
    int clients[3] = {client_of(port), client_of(port), client_of(port)};
    int opened = 0, closed = 0, inside = 0;

    ~Server()
    {
        for (int client : clients)
            close(client);
    }

    void handle(const socketpool::Event &event)
    {
        const Counted counted(inside);
        socketpool::Connection connection = event.connection;
        switch (event.kind) {
        case socketpool::Kind::opened:
            connection.set_userdata(new std::string("somebody"));
            opened++;
            break;
        case socketpool::Kind::readable: {
            connection.receive();
            socketpool::View line{nullptr, 0};
            for (std::size_t taken; connection.line(line, taken);) {
                const std::string said = line.str();
                connection.consume(taken);
                if (said == "no")
                    throw Refusal();
                *connection.userdata<std::string>() = said;
                CHECK(connection.send("you are " + said + "\n") == socketpool::Sent::now);
            }
            break;
        }
        case socketpool::Kind::closed:
            delete static_cast<std::string *>(event.userdata);
            closed++;
            break;
        default:
            break;
        }
    }

    // Runs until somebody says no; whether somebody did before the drain was over.
    bool somebody_refuses()
    {
        try {
            pool.run([this](const socketpool::Event &event) { handle(event); });
        } catch (const Refusal &refusal) {
            CHECK(refusal.what() == std::string("a client said no") && inside == 0);
            return true;
        }
        return false;
    }
};

void handlers_of_events_throw()
{
    Server server;
    say(server.clients[0], "Ann\n");
    say(server.clients[1], "no\n");
    CHECK(server.somebody_refuses());
    // Whoever came after it in the same turn is told all the same.
    say(server.clients[2], "no\n");
    CHECK(server.somebody_refuses() && server.pool.size() == 3 && hears(server.clients[0], "you are Ann\n"));
    say(server.clients[1], "Bob\nno\n");
    CHECK(server.somebody_refuses() && hears(server.clients[1], "you are Bob\n"));
    server.pool.drain(0);
    CHECK(!server.somebody_refuses());
    CHECK(server.opened == 3 && server.closed == 3 && server.pool.state() == socketpool::State::drained);
}

void lambdas_of_walks_and_ends_throw()
{
    Server server;
    while (server.opened < 3) {
        server.pool.turn();
        for (socketpool::Event event{}; server.pool.next(event);)
            server.handle(event);
    }
    int seen = 0;
    try {
        server.pool.for_each([&](socketpool::Connection connection) {
            const Counted counted(server.inside);
            CHECK(connection.userdata<std::string>() != nullptr);
            if (++seen == 2)
                throw Refusal();
        });
        CHECK(!"it throws");
    } catch (const Refusal &) {
        CHECK(seen == 2 && server.inside == 0);
    }
    server.pool.for_each([&](socketpool::Connection connection) { seen += connection.fd() >= 0; });
    CHECK(seen == 5);

    // One that is given to the pool itself lives as long as the pool, and its end is told in the call that finds it.
    std::vector<std::string> reasons;
    auto kept = std::make_shared<int>(1);
    server.pool.on_close([&reasons, kept](socketpool::Connection, void *userdata, const char *reason) {
        delete static_cast<std::string *>(userdata);
        reasons.push_back(reason);
        if (reasons.size() == 1)
            throw Refusal();
    });
    CHECK(kept.use_count() == 2);
    // It moves with the pool.
    socketpool::Pool moved(std::move(server.pool));
    moved.for_each([](socketpool::Connection connection) { connection.close(); });
    int thrown = 0, events = 0;
    while (reasons.size() < 3) {
        try {
            moved.turn(0);
            for (socketpool::Event event{}; moved.next(event);)
                events++;
        } catch (const Refusal &) {
            thrown++;
        }
    }
    CHECK(thrown == 1 && events == 2 && moved.size() == 0 && reasons[2] == "closed");
    moved.on_close(nullptr);
    CHECK(kept.use_count() == 1);
    server.pool = socketpool::Pool(1);
}

void wrong_calls_throw()
{
    try {
        socketpool::Pool none(0);
        CHECK(!"it throws");
    } catch (const socketpool::Error &error) {
        CHECK(error.status() == SP_BAD_ARGUMENT && std::string(error.what()).find("max_connections is 0") != std::string::npos);
    }
    try {
        socketpool::Pool huge(std::size_t(1) << 32 | 1);
        CHECK(!"it throws");
    } catch (const socketpool::Error &error) {
        CHECK(error.status() == SP_BAD_ARGUMENT);
    }
    try {
        socketpool::Connection().receive();
        CHECK(!"it throws");
    } catch (const socketpool::Error &error) {
        CHECK(error.status() == SP_BAD_HANDLE && error.number() == EINVAL);
    }
    socketpool::Pool pool(10);
    socketpool::Pool taken(std::move(pool));
    try {
        pool.turn(0);
        CHECK(!"it throws");
    } catch (const socketpool::Error &error) {
        CHECK(error.status() == SP_BAD_HANDLE);
    }
    CHECK(taken.size() == 0);
    taken.set_idle_timeout(10);
    try {
        taken.set_idle_timeout(-1);
        CHECK(!"it throws");
    } catch (const socketpool::Error &) {
    }
}

} // namespace

int main()
{
    handlers_of_events_throw();
    lambdas_of_walks_and_ends_throw();
    wrong_calls_throw();
    return failures != 0;
}
