"""The same `POST` as `benches/http/src/shop.rs`, on FastAPI and DBOS for Python.

Prints where it listens on the first line, then serves until it is killed.
"""

import logging
import socket
import sys
from typing import Annotated

import uvicorn
from dbos import DBOS, SetWorkflowID
from fastapi import Body, FastAPI, Header

PATIENCE = 10.0

app = FastAPI()
DBOS(
    fastapi=app,
    config={
        "name": "bench",
        "system_database_url": sys.argv[1],
        "sys_db_pool_size": 20,
        "log_level": "ERROR",
    },
)


@DBOS.step()
async def order(widgets: int) -> int:
    return widgets + 1


@DBOS.workflow()
async def buys(widgets: int) -> int:
    number = await order(widgets)
    await DBOS.set_event_async("order", number)
    return number


@app.post("/buy")
async def buy(widgets: Annotated[int, Body()], idempotency_key: Annotated[str, Header()]):
    with SetWorkflowID(idempotency_key):
        handle = await DBOS.start_workflow_async(buys, widgets)
    value = await DBOS.get_event_async(handle.get_workflow_id(), "order", PATIENCE)
    return {"key": "order", "value": value}


class Server(uvicorn.Server):
    """Says where it listens once it does."""

    async def startup(self, sockets=None):
        await super().startup(sockets)
        host, port = sockets[0].getsockname()
        print(f"{host}:{port}", flush=True)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", access_log=False)
    Server(config).run(sockets=[listener])
