"""What goes into the outbox: one row for each result and destination."""

from sqlalchemy import Connection, insert, select, update

from medseg.service.database import deliveries, now


def promise(connection: Connection, key: str, destination: str, *, again: bool = False) -> None:
    """A result shall go to a destination; nothing changes where that is so already.

    Args:
        connection: A transaction, in which the result is known.
        key: Of the result.
        destination: Its name.
        again: Whether what the destination refused is to be tried once more.
    """
    there = (deliveries.c.key == key) & (deliveries.c.destination == destination)
    state = connection.execute(select(deliveries.c.state).where(there)).scalar_one_or_none()
    if state is None:
        connection.execute(
            insert(deliveries).values(
                key=key, destination=destination, state="waiting", attempts=0, next_at=now(),
                leased_until=0.0, last_error="", accepted_at=None,
            )
        )  # fmt: skip
    elif state == "refused" and again:
        connection.execute(
            update(deliveries).where(there).values(state="waiting", attempts=0, next_at=now())
        )
