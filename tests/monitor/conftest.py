"""A browser for the tests of the page."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.monitor.browser import Browser, Host


@pytest.fixture(scope="module")  # no longer: a page that is left open draws on
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Browser]":
    from tests.monitor.browser import open_browser  # noqa: PLC0415 - selenium is optional

    browser = open_browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.driver.quit()


@pytest.fixture
def host(browser: "Browser") -> "Iterator[Host]":
    from tests.monitor.browser import Host  # noqa: PLC0415 - selenium is optional

    with Host() as host:
        yield host
    complaints = [line["message"] for line in browser.driver.get_log("browser") if "backhaul:" not in line["message"]]
    assert [line for line in complaints if "Security Policy" in line] == []
