"""The views of the page in a real browser: a day, and one port, client or group alone."""

from msgspec.structs import replace
from tests.monitor.browser import Browser, Host, needs_browser, webdriver
from tests.monitor.sample import port
from tests.support.connections import USER

from backhaul.monitor.samples import Sample
from backhaul.monitor.status import ClientStatus, GroupStatus, LimitStatus
from backhaul.state import MemberState

pytestmark = needs_browser


def minutes(now: float, *users: int) -> list[Sample]:
    """Return the samples of the last minutes, at intervals of five; each user is new and moves 3000 bytes."""
    last = int(now // 60)
    return [Sample(last - 5 * ago, number, number, 1, 0, 0, 3000 * number) for ago, number in enumerate(users[::-1])]


def test_a_day_is_shown_and_read_by_keys(browser: Browser, host: Host) -> None:
    host.samples[""] = minutes(host.now, 7, 40)
    browser.look(host)
    browser.wait(lambda: "40 users" in browser.script("return document.querySelector('#day').ariaValueText"))
    assert "40 new, 1 refused, 16.0 kbit/s to, 0 bit/s from users" in browser.script(
        "return document.querySelector('#day').ariaValueText"
    )
    browser.script("document.querySelector('#day').focus()")
    browser.press(webdriver.Keys.ARROW_LEFT)
    assert "7 users" in browser.text("#day-readout")
    browser.press(webdriver.Keys.ARROW_LEFT)
    assert "no data" in browser.text("#day-readout")
    assert browser.text("#day").count("scale") == 3
    browser.driver.find_element("id", "day-span").send_keys("1")
    browser.script("document.querySelector('#day').focus()")
    browser.press(webdriver.Keys.ARROW_LEFT * 5)
    assert ": 7 users, 7 new, 1 refused, 2.80 kbit/s to" in browser.text("#day-readout")


def test_a_port_is_shown_alone(browser: Browser, host: Host) -> None:
    host.tunnel.say(
        ports=(port(443), port(80)),
        limits=tuple(LimitStatus(f"limits.{n}", "max_users", "users", 9, 3) for n in (443, 80)),
    )
    host.samples = {"": minutes(host.now, 9), "0.0.0.0:80": minutes(host.now, 2)}
    browser.look(host)
    browser.driver.find_elements("css selector", "#ports button")[1].click()
    assert browser.text("#view").split("\n") == ["Only port 80 is shown below.", "Show all"]
    assert browser.script("return document.querySelectorAll('#ports tr').length") == 1
    assert browser.text("#limits").split("\n")[1] == "port 80"
    browser.wait(lambda: "2 users" in browser.script("return document.querySelector('#day').ariaValueText"))
    browser.driver.find_element("id", "view-all").click()
    assert browser.script("return document.querySelectorAll('#ports tr').length") == 2
    assert not browser.driver.find_element("id", "view").is_displayed()


def test_each_protocol_of_a_port_is_shown_alone(browser: Browser, host: Host) -> None:
    ports = tuple(replace(port(443), protocol=name) for name in ("tcp", "udp"))
    host.tunnel.say(ports=ports, limits=(LimitStatus("limits.443", "max_users", "users", 9, 3),))
    host.samples = {"": minutes(host.now, 9), "0.0.0.0:443/udp": minutes(host.now, 2)}
    rows = [replace(USER, id=number, protocol=one.protocol, port="0.0.0.0:443") for number, one in enumerate(ports, 1)]
    host.users.rows = rows
    browser.look(host)
    browser.driver.find_elements("css selector", "#ports button")[1].click()
    assert browser.text("#view").split("\n") == ["Only port 443/udp is shown below.", "Show all"]
    assert browser.script("return document.querySelectorAll('#ports tr').length") == 1
    assert browser.text("#limits").split("\n")[1] == "port 443"
    browser.wait(lambda: browser.text("#connections-count") == "1 of 2 users")
    browser.wait(lambda: "2 users" in browser.script("return document.querySelector('#day').ariaValueText"))


def test_clients_are_listed_and_one_is_shown_alone(browser: Browser, host: Host) -> None:
    assert not host.tunnel.status.clients
    browser.look(host)
    assert not browser.driver.find_element("id", "clients-card").is_displayed()
    host.tunnel.say(
        ports=(
            replace(port(443, sent=1024), client="berlin"),
            replace(port(444, sent=1024), client="berlin"),
            port(80),
        ),
        clients=(
            ClientStatus("berlin", True, "192.0.2.7:1", "", None, 0, 4, 0, draining=True),
            ClientStatus("paris", False, "", "", None, 0, 0, 0),
        ),
    )
    browser.wait(lambda: "connected from 192.0.2.7:1" in browser.text("#clients"))
    rows = [row.text.split("\n") for row in browser.driver.find_elements("css selector", "#clients tr")]
    assert [row[:2] for row in rows] == [["berlin", "connected from 192.0.2.7:1, draining"], ["paris", "not connected"]]
    assert [row[2][0] for row in rows] == ["4", "0"]
    assert "2.00 KiB" in rows[0][-2] + rows[0][-1]
    browser.driver.find_element("css selector", "#clients button").click()
    assert browser.script("return document.querySelectorAll('#ports tr').length") == 2


def test_a_group_is_listed_with_its_members(browser: Browser, host: Host) -> None:
    members = (MemberState("berlin", 3, "ready"), MemberState("paris", 0, "draining"))
    host.tunnel.say(
        ports=(replace(port(443, sent=1024), group="web"), port(80, sent=5)),
        groups=(GroupStatus("web", "least", members),),
    )
    browser.look(host)
    row = browser.text("#clients tr")
    assert all(part in row for part in ("group web", "balance least: berlin 3, paris draining", "1.00 KiB"))
    assert "of group web" in browser.text("#ports")


def test_a_client_of_a_group_does_not_look_idle(browser: Browser, host: Host) -> None:
    """The bytes of a port of a group are the sum of all its clients."""
    berlin = ClientStatus("berlin", True, "192.0.2.7:1", "", None, 0, 4, 0)
    host.tunnel.say(
        ports=(replace(port(443, sent=1024), group="web"), replace(port(80, sent=2048), client="rome")),
        clients=(berlin, replace(berlin, name="rome")),
        groups=(GroupStatus("web", "least", (MemberState("berlin", 3, "ready"), MemberState("rome", 3, "ready"))),),
    )
    browser.look(host)
    rows = [row.text.replace("\n", " ") for row in browser.driver.find_elements("css selector", "#clients tr")]
    assert rows[0].endswith("4 see the group see the group")
    assert "2.00 KiB" in rows[1]
    assert rows[1].endswith("own ports")


def test_a_group_is_shown_alone_from_one_of_its_clients(browser: Browser, host: Host) -> None:
    members = (MemberState("berlin", 3, "ready", total=40), MemberState("paris", 0, "unhealthy", "timed out", 9, 2))
    berlin = ClientStatus("berlin", True, "192.0.2.7:1", "", None, 0, 4, 0)
    limits = tuple(LimitStatus(f"limits.{port}", "max_users", "users", 9, 3) for port in (80, 443))
    host.tunnel.say(
        ports=(replace(port(443), group="web"), replace(port(80), client="berlin")),
        clients=(berlin, replace(berlin, name="rome")),
        groups=(GroupStatus("web", "least", members, "http:/healthz", 5), GroupStatus("db", "order", members[:1])),
        limits=limits,
    )
    host.samples["group web"] = [Sample(int(host.now // 60), 3, 0, 0, 0, 0, 0)]
    browser.look(host)
    assert not browser.driver.find_element("id", "group-card").is_displayed()
    links = browser.driver.find_elements("css selector", "#clients tr:first-child button")
    assert [link.text for link in links] == ["berlin", "group web", "group db"]
    browser.script("document.querySelectorAll('#clients button')[1].focus()")
    host.tunnel.say(clients=(replace(berlin, draining=True), replace(berlin, name="rome")))
    browser.wait(lambda: "draining" in browser.text("#clients"))
    assert browser.script("return document.activeElement.textContent") == "group web"
    browser.press(webdriver.Keys.ENTER)
    assert browser.text("#view").split("\n")[0] == "Only group web is shown below."
    assert browser.text("#group-about") == "1 of 2 ready · balance least · health http:/healthz every 5 s · 0.0.0.0:443"
    rows = [row.text.split() for row in browser.driver.find_elements("css selector", "#members tr")]
    assert rows == [["berlin", "ready", "3", "40", "0"], ["paris", "unhealthy:", "timed", "out", "0", "9", "2"]]
    assert browser.script("return document.querySelectorAll('#ports tr').length") == 1
    assert browser.text("#limits").split("\n")[1] == "port 443"
    browser.wait(lambda: "3 users" in browser.script("return document.querySelector('#day').ariaValueText"))
    host.tunnel.say(groups=(GroupStatus("web", "least", members[:1]),))
    browser.wait(lambda: browser.text("#group-about").startswith("1 of 1 ready · balance least · no health"))
    browser.driver.find_element("css selector", "#members button").click()
    assert browser.text("#view").split("\n")[0] == "Only client berlin is shown below."
    assert not browser.driver.find_element("id", "group-card").is_displayed()
