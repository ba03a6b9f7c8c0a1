"""The table of connections on the page, in a real browser: ten thousand rows, search, order, and closing."""

import shlex
from collections.abc import Iterator

import pytest
from msgspec.structs import replace
from tests.monitor.browser import HOSTILE, Browser, Host, needs_browser, webdriver
from tests.support.connections import USER
from tests.support.operator import Users

from backhaul.monitor.connections import ConnectionStatus
from backhaul.selection import Selection

pytestmark = needs_browser


def some(count: int) -> list[ConnectionStatus]:
    return [
        replace(USER, id=number, user=f"192.0.2.{number % 250}:{5000 + number % 50000}", since=USER.since + number)
        for number in range(1, count + 1)
    ]


SAID = "return document.querySelector('#connections-said').textContent"
CURL = "return document.querySelector('#curl-text').value"


class Table:
    """The table in the browser."""

    def __init__(self, browser: Browser, users: Users, host: Host) -> None:
        self.browser = browser
        self.users = users
        self.host = host
        browser.look(host)
        browser.script("document.querySelector('#connections-card').scrollIntoView()")
        browser.wait(lambda: self.rows() or not users.rows)

    def rows(self) -> list[str]:
        """Return the text of each row that exists, from top to bottom."""
        rows: list[str] = self.browser.script(
            "return [...document.querySelectorAll('#connections-rows .line')]"
            ".sort((a, b) => a.ariaRowIndex - b.ariaRowIndex).map((row) => row.innerText)"
        )
        return rows

    def top(self) -> str:
        return (self.rows() or [""])[0]

    def focus(self) -> None:
        self.browser.script("document.querySelector('#connections').focus()")

    def click(self, selector: str) -> None:
        self.browser.script("document.querySelector(arguments[0]).click()", selector)

    def search(self, text: str) -> None:
        self.browser.script(
            "const e = document.querySelector('#connections-search'); e.value = arguments[0];"
            "e.dispatchEvent(new Event('input'))",
            text,
        )


@pytest.fixture
def login() -> str:
    return ""


@pytest.fixture
def table(browser: Browser, request: pytest.FixtureRequest, login: str) -> Iterator[Table]:
    users = Users(getattr(request, "param", some(3)))
    with Host(users, login) as host:
        yield Table(browser, users, host)
    complaints = [line["message"] for line in browser.driver.get_log("browser")]
    assert [line for line in complaints if "Security Policy" in line] == []


MANY = pytest.mark.parametrize("table", [some(10_000)], indirect=True, ids=["10000"])


def test_a_row_holds_everything(table: Table) -> None:
    top = table.top()
    parts = ("192.0.2.1:5001", "client berlin", "*:443", "to 127.0.0.1:80", "2.00 KiB", "1.00 KiB", "open", "tcpmux")
    assert all(part in top for part in parts)
    assert table.browser.text("#connections-count") == "3 users"


def test_rates_come_from_two_answers(table: Table) -> None:
    table.users.rows = [replace(row, sent=row.sent + 10**9) for row in table.users.rows]
    table.browser.wait(lambda: "bit/s" in table.top() and "↓ 0 bit/s" not in table.top())
    assert "↑ 0 bit/s" in table.top()


def test_nothing_is_claimed_before_the_first_answer(browser: Browser) -> None:
    with Host(Users(some(3)), "admin") as host:
        browser.look(host, width=390, height=100)  # where the table is never in sight, so that it is not requested
        browser.script("window.dispatchEvent(new Event('resize'))")
        assert browser.text("#connections-none") == "Loading the connections …"
        assert browser.text("#connections-hint") == ""
        assert browser.text("#connections-count") == ""


@MANY
def test_only_the_rows_in_sight_exist(table: Table) -> None:
    assert len(table.rows()) < 40
    table.browser.script("document.querySelector('#connections').scrollTop = 1e9")
    table.browser.wait(lambda: any("Age" not in row and ":15000" in row for row in table.rows()))
    assert len(table.rows()) < 40
    assert table.browser.script("return document.querySelector('#connections').ariaRowCount") == "10001"


@MANY
def test_the_order_and_the_search(table: Table) -> None:
    assert ":5001" in table.top()
    table.click("[data-key=age]")
    table.browser.wait(lambda: ":15000" in table.top())
    assert table.browser.script("return document.querySelector('.age[aria-sort]').ariaSort") == "descending"
    table.search("192.0.2.7:5007")
    assert table.browser.text("#connections-count") == "1 of 10,000 users"
    assert len(table.rows()) == 1
    table.search("nothing like it")
    assert table.browser.text("#connections-none") == "No connection matches."


def test_a_port_is_chosen(table: Table) -> None:
    table.users.rows = [*some(2), replace(USER, id=9, port="*:80")]
    table.browser.wait(lambda: "*:80" in table.browser.text("#connections-port"))
    table.browser.script(
        "const e = document.querySelector('#connections-port'); e.value = '*:80'; e.dispatchEvent(new Event('input'))"
    )
    assert len(table.rows()) == 1


@pytest.mark.parametrize("table", [[replace(USER, user=HOSTILE, target=HOSTILE)]], indirect=True, ids=["hostile"])
def test_texts_never_become_markup(table: Table) -> None:
    assert "<script>" in table.top()
    assert table.browser.script("return document.querySelectorAll('#connections img, #connections script').length") == 0


def test_without_a_login_nothing_can_be_closed(table: Table) -> None:
    assert table.browser.script("return document.querySelectorAll('#connections-rows button').length") == 0
    assert "web_password" in table.browser.text("#connections-hint")
    table.focus()
    table.browser.press(webdriver.Keys.ARROW_DOWN)
    table.browser.press(webdriver.Keys.DELETE)
    assert not table.browser.script("return document.querySelector('#connections-dialog').open")


def test_a_screen_reader_hears_what_was_chosen(table: Table) -> None:
    """A grid may say which of its rows is the active one; rows that do not exist are counted."""
    table.focus()
    table.browser.press(webdriver.Keys.ARROW_DOWN)
    chosen = "const e = document.querySelector('#connections'); return document.getElementById(e.getAttribute('{}'))"
    row = chosen.format("aria-activedescendant")
    assert table.browser.script(f"{row}.getAttribute('aria-selected')") == "true"
    assert table.browser.script("return document.querySelectorAll('[role=grid] [aria-selected=true]').length") == 1
    assert table.browser.script(f"{row}.firstChild.getAttribute('role')") == "gridcell"
    table.search("5002")
    assert table.browser.script(SAID) == "1 of 3 users, by age, ascending"
    table.click("[data-key=total]")
    assert table.browser.script(SAID) == "1 of 3 users, by total, descending"


@pytest.mark.parametrize("width", [1000, 390])
def test_no_row_is_wider_than_the_table_or_higher_than_its_place(table: Table, width: int) -> None:
    table.browser.look(table.host, width=width)
    table.browser.script("document.querySelector('#connections-card').scrollIntoView()")
    table.browser.wait(table.rows)
    inside = "return [...document.querySelectorAll(arguments[0])].every((e) => e[arguments[1]] <= e[arguments[2]])"
    assert table.browser.script(inside, "#connections", "scrollWidth", "clientWidth")
    assert table.browser.script(inside, "#connections-rows .line", "scrollHeight", "clientHeight")


def test_the_list_as_curl(table: Table) -> None:
    table.click("#connections-curl")
    address = table.host.url.removesuffix("/")
    assert table.browser.script(CURL) == f"curl {address}/api/connections"
    assert table.browser.script("return document.activeElement.id") == "curl-text"
    table.browser.press(webdriver.Keys.ESCAPE)
    table.browser.script(
        "const e = document.querySelector('#connections-port'); e.value = '*:443'; e.dispatchEvent(new Event('input'))"
    )
    table.click("#connections-curl")
    assert table.browser.script(CURL) == f"curl '{address}/api/connections?port=443'"


class TestClosing:
    @pytest.fixture
    def login(self) -> str:
        return "admin"

    def test_a_user_is_closed_by_keys_alone(self, table: Table) -> None:
        table.focus()
        for key in (webdriver.Keys.ARROW_DOWN, webdriver.Keys.ARROW_DOWN, webdriver.Keys.DELETE):
            table.browser.press(key)
        assert table.browser.text("#connections-question") == "Close 192.0.2.2:5002 to 127.0.0.1:80?"
        table.browser.press(webdriver.Keys.ENTER)
        table.browser.wait(lambda: table.users.closed)
        table.browser.wait(lambda: len(table.rows()) == 2)
        assert table.users.closed == [Selection(number=2)]
        assert not table.browser.script("return document.querySelector('#connections-dialog').open")

    def test_all_users_of_an_address(self, table: Table) -> None:
        table.users.rows.append(replace(USER, id=9, user="192.0.2.1:9"))
        table.browser.wait(lambda: len(table.rows()) == 4)
        table.click("#connections-rows button")
        assert table.browser.text("#connections-close-all") == "Close all 2 from 192.0.2.1"
        table.click("#connections-close-all")
        table.browser.wait(lambda: table.users.closed)
        assert table.users.closed == [Selection(host="192.0.2.1")]

    def test_the_closing_as_curl(self, table: Table) -> None:
        table.click("#connections-rows button")
        table.click("#connections-close-curl")
        words = shlex.split(table.browser.script(CURL))
        assert words[:3] == ["curl", "-u", "USER"]
        assert words[-3:-1] == ["-d", '{"id":1}']
        assert words[-1].endswith("/api/connections/close")
        assert "admin" not in words[-1]
        assert table.users.closed == []

    def test_the_question_can_be_left(self, table: Table) -> None:
        table.click("#connections-rows button")
        table.browser.press(webdriver.Keys.ESCAPE)
        table.browser.wait(lambda: not table.browser.script("return document.querySelector('dialog').open"))
        assert table.users.closed == []
