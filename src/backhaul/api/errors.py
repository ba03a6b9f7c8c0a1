"""The error of a request that is not granted."""

from http import HTTPStatus

from backhaul.errors import BackhaulError


class RefusedError(BackhaulError):
    """A request that is not granted; the text names the remedy."""

    def __init__(self, text: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(text)
        self.status = status
