from omen_server.desk.reader import PAGE_BYTES_MAX, last_of_page


def test_page_is_read_as_far_as_it_may_be_sent() -> None:
    """
    A page ends with the first row that has no room, so that it is seen to go on; of one large row, with the next.
    """
    half = PAGE_BYTES_MAX // 2
    assert last_of_page([]) == 0
    assert last_of_page([(7, half)]) == 7
    assert last_of_page([(1, half), (2, half), (3, 1), (4, 1)]) == 3
    assert last_of_page([(1, 3 * half), (2, half), (3, half)]) == 2
