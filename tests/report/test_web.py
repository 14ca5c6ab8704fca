import socket

from anomem.report.web import listening


def test_an_answer_is_not_held_back_until_the_one_before_it_is_acknowledged() -> None:
    with listening("127.0.0.1", 0) as opened, socket.create_connection(opened.getsockname()):
        taken, _ = opened.accept()
        with taken:
            assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
