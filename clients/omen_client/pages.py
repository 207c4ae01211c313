from collections.abc import AsyncGenerator
from typing import Any

from omen_rpc.channel import Connection


async def pages(connection: Connection, method: Any, request: Any) -> AsyncGenerator[Any, None]:
    """
    Yield every page of a list, asking for the next one only when it is wanted.
    """
    while True:
        page = await connection.call(method, request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
