import pytest
from hypothesis import given
from hypothesis import strategies as st

from falq.errors import ConfigurationError
from falq.redis_url import parse_redis_url
from falq.settings import REDIS_SCHEMES


@pytest.mark.parametrize(
    ("url", "nodes", "db"),
    [
        ("redis://localhost", (("localhost", 6379),), 0),
        ("redis://127.0.0.1:7000/3", (("127.0.0.1", 7000),), 3),
        ("redis://[::1]:7000/?db=4", (("::1", 7000),), 4),
        ("rediss://u:p@db.example.com", (("db.example.com", 6379),), 0),
        (
            "redis+sentinel://:p@a:1,b,[::1]:3/main/2",
            (("a", 1), ("b", 26379), ("::1", 3)),
            2,
        ),
    ],
)
def test_an_address_gives_nodes_and_database(url, nodes, db):
    address = parse_redis_url(url)
    assert (address.nodes, address.db) == (nodes, db)


def test_a_login_is_decoded():
    address = parse_redis_url("redis://ja%40ne:p%2Fss%3A@db.example.com")
    assert (address.username, address.password) == ("ja@ne", "p/ss:")


def test_a_unix_path_is_decoded():
    address = parse_redis_url("unix:///a%20b/%23redis.sock?db=1&password=p")
    assert (address.path, address.db, address.password) == ("/a b/#redis.sock", 1, "p")


def test_sentinels_need_a_service():
    assert parse_redis_url("redis+sentinel://localhost/main").service == "main"
    with pytest.raises(ConfigurationError, match="service"):
        parse_redis_url("redis+sentinel://localhost")


@pytest.mark.parametrize(
    "url",
    [
        "redis://10.1.2.3",
        "redis://user@db.example.com",
        "rediss://db.example.com",
        "redis://0.0.0.0",
        "redis+sentinel://127.0.0.1,10.0.0.1/main",
        "redis://127.0.0.1.example.com",
    ],
)
def test_another_machine_without_a_password_is_refused(url):
    with pytest.raises(ConfigurationError, match="without a password") as caught:
        parse_redis_url(url)
    assert "rediss://" in caught.value.hint


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("redis+sentinel://:p@h/main", None),
        ("redis+sentinel://:p@h/main?ssl_ca_certs=/ca", {"ssl_ca_certs": "/ca"}),
        ("rediss+sentinel://:p@h/main", {}),
        ("rediss+sentinel://:p@h/main/1?ssl_ca_certs=/ca", {"ssl_ca_certs": "/ca"}),
        ("rediss://:p@h", {}),
        ("redis://:p@h", None),
    ],
)
def test_tls_is_had_behind_sentinels_too(url, tls):
    address = parse_redis_url(url)
    assert address.tls == tls
    assert address.behind_sentinels is ("sentinel" in url)


def test_a_client_certificate_is_a_login():
    address = parse_redis_url("rediss://db.example.com?ssl_certfile=/c&ssl_keyfile=/k")
    assert address.arguments == {"ssl_certfile": "/c", "ssl_keyfile": "/k"}


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hun#ter2@host",
        "redis://:hun/ter2@host",
        "redis://:hun?ter2@host",
        "redis://:hunter2@host:port",
        "redis://:hunter2@host:99999",
        "redis://:hunter2@host/zero",
        "redis://:hunter2@host?hunter2=1",
        "redis://:hunter2@[host",
        "redis://:hunter2@ho st",
        "redis://:hunter2@a,b",
        "unix://:hunter2@relative",
        "http://:hunter2@host",
    ],
)
def test_what_cannot_be_understood_is_refused_without_the_password(url):
    with pytest.raises(ConfigurationError, match="FALQ_REDIS_URL") as caught:
        parse_redis_url(url)
    shown = str(caught.value.to_dict())
    assert "hun" not in shown
    assert "ter2" not in shown


def test_neither_repr_nor_text_shows_a_password():
    address = parse_redis_url("redis+sentinel://u:hunter2@h/main?sentinel_password=hunter3")
    assert "hunter" not in f"{address!r} {address}"


@pytest.mark.parametrize("argument", ["decode_responses=1", "socket_timeout=0", "host=evil"])
def test_an_address_may_not_change_how_falq_talks(argument):
    with pytest.raises(ConfigurationError, match="takes only"):
        parse_redis_url(f"redis://localhost?{argument}")


@given(st.text(max_size=60), st.sampled_from(list(REDIS_SCHEMES)))
def test_any_text_is_understood_or_refused(text, scheme):
    try:
        address = parse_redis_url(f"{scheme}://{text}")
    except ConfigurationError:
        return
    assert address.is_local or address.proves_identity
