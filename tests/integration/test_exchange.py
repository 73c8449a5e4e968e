"""Commands over connections that are kept: whose reply is whose, and what a lost one does."""

import os
import threading
import time

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from falq import exchange as exchange_module
from falq.exchange import Exchange

ID = [("CLIENT", "ID")]


@pytest.fixture(params=[2, 3])
def client(redis_socket, request):
    with Redis(unix_socket_path=str(redis_socket), protocol=request.param) as own:
        yield own


@pytest.fixture
def exchange(client):
    return Exchange(client)


@pytest.fixture
def never_sure(monkeypatch):
    monkeypatch.setattr(exchange_module, "SURE_S", 0.0)


def test_each_command_has_its_reply_or_the_error_that_redis_gave(exchange):
    said, refused, said_again = exchange.send([("ECHO", "a"), ("NONSENSE",), ("ECHO", 1)])
    assert (said, said_again) == (b"a", b"1")
    assert isinstance(refused, ResponseError)


def test_the_first_error_of_several_replies_is_raised_and_the_rest_is_read(exchange):
    with pytest.raises(ResponseError, match="NONSENSE"):
        exchange.send_all([("ECHO", "a"), ("NONSENSE",), ("ECHO", "b")])
    assert exchange.send_all([("ECHO", "c")]) == [b"c"]


def test_hashes_are_read_together_and_one_that_is_not_there_is_empty(exchange, redis_client):
    redis_client.hset("h", mapping={"a": "1", "b": ""})
    assert exchange.hashes(["h", "none", "h"])[:2] == [{b"a": b"1", b"b": b""}, {}]


def test_no_commands_need_no_redis():
    assert Exchange(Redis(port=1)).send([]) == []


def test_a_connection_is_kept_and_shared_by_all_of_a_client(exchange, client):
    assert exchange.send(ID) == Exchange(client).send(ID) == exchange.send(ID)


def test_threads_get_their_own_replies(exchange):
    wrong = []

    def ask(name):
        for number in range(300):
            text = f"{name}-{number}".encode()
            if exchange.send([("ECHO", text)]) != [text]:
                wrong.append(text)

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.usefixtures("never_sure")
def test_a_connection_that_broke_while_it_was_idle_is_replaced(exchange, redis_client):
    (before,) = exchange.send(ID)
    redis_client.client_kill_filter(_id=before)
    (after,) = exchange.send(ID)
    assert after != before


def test_a_connection_that_broke_right_after_its_answer_fails_once(exchange, redis_client):
    exchange.send(ID)
    (before,) = exchange.send(ID)
    redis_client.client_kill_filter(_id=before)
    with pytest.raises(RedisConnectionError):
        exchange.send(ID)
    assert exchange.send(ID) != [before]


@pytest.mark.parametrize("broken", ["send_packed_command", "read_response"])
def test_what_interrupts_a_command_leaves_no_reply_to_the_next(exchange, monkeypatch, broken):
    exchange.send(ID)
    ((connection, _),) = exchange._kept

    def interrupt(*_):
        if broken == "read_response":
            time.sleep(0.02)  # the reply has arrived
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(connection, broken, interrupt)
        with pytest.raises(KeyboardInterrupt):
            exchange.send([("ECHO", "lost")])
    assert exchange.send([("ECHO", "mine")]) == [b"mine"]


@pytest.mark.usefixtures("never_sure")
def test_a_connection_that_its_pool_disowns_is_given_back(exchange, client, monkeypatch):
    """A pool behind sentinels disowns those to a server that is the primary no more."""
    exchange.send(ID)
    ((connection, _),) = exchange._kept
    with monkeypatch.context() as patch:
        patch.setattr(client.connection_pool, "owns_connection", lambda _: False)
        (after,) = exchange.send(ID)
    assert connection._sock is None
    assert exchange.send(ID) == [after]


def test_a_child_does_not_write_to_the_connections_of_its_parent(exchange):
    (ours,) = exchange.send(ID)
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writes, b"%d" % exchange.send(ID)[0])
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(reads, 100)) != ours
    assert exchange.send(ID) == [ours]
    os.close(reads)
    os.close(writes)


def test_a_client_that_is_closed_closes_what_is_kept_and_may_go_on(exchange, client, redis_client):
    (before,) = exchange.send(ID)
    client.close()
    assert before not in {int(each["id"]) for each in redis_client.client_list()}
    assert exchange.send(ID) != [before]
