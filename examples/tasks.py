"""Tasks of the example flows: plain functions, imported from the folder in which the worker was started."""

import time


def read():
    """Give some orders; a stand-in for a file or a database."""
    return [{"id": 1, "total": 30}, {"id": 2, "total": 12}, {"id": 3, "total": 0}]


def total(read):
    """Add the orders up."""
    return sum(order["total"] for order in read)


def largest(read):
    """Find the largest order."""
    return max(read, key=lambda order: order["total"])["id"]


def summary(total, largest):
    """Put two results together; it begins when both are there."""
    return f"{total} in all, the largest is order {largest}"


def by_mail(read):
    """Send the orders on in one way."""
    return f"{len(read)} orders sent by mail"


def by_post(read):
    """Send the orders on in another way."""
    return f"{len(read)} orders printed for the post"


def call_supplier(opens_at=0, takes_sec=0):
    """Call somebody who answers from a certain time on, in unix seconds, and then talks for so long."""
    if time.time() < opens_at:
        raise ConnectionError("the supplier does not answer")
    time.sleep(takes_sec)
    return "ordered"


def table(ctx, read):
    """Keep the orders as a file."""
    ctx.save_artifact("orders.csv", "".join(f"{order['id']},{order['total']}\n" for order in read))


def chart(ctx, read):
    """Keep a picture of the orders, in a folder."""
    bars = (f'<rect x="{40 * place}" width="30" height="{order["total"]}"/>' for place, order in enumerate(read))
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="120" height="30">{"".join(bars)}</svg>'
    ctx.save_artifact("charts/orders.svg", svg)
