"""Client of deweather-server: rain and other weather taken out of pictures, and training on the server.

    from deweather_client import Client

    with Client() as client:
        client.restore("rainy.jpg").save("restored.jpg")

Client waits, AsyncClient is for asyncio. The API's messages are in deweather_client.v1.
"""

from deweather_client.aio_client import AsyncClient
from deweather_client.client import Client
from deweather_client.errors import (DeadlineExceeded, DeweatherError, InvalidArgument, NotFound, PermissionDenied,
                                     ResourceExhausted, Unauthenticated, Unavailable)
from deweather_client.job_requests import state_name
from deweather_client.options import Options
from deweather_client.restored import Frame, ModelVersion, Restored, Timings
from deweather_client.version import VERSION as __version__

__all__ = [
    "AsyncClient", "Client", "DeadlineExceeded", "DeweatherError", "Frame", "InvalidArgument", "ModelVersion",
    "NotFound", "Options", "PermissionDenied", "ResourceExhausted", "Restored", "Timings", "Unauthenticated",
    "Unavailable", "__version__", "state_name",
]
