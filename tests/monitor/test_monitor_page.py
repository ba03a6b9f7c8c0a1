"""The page in a real browser, without a window."""

import logging
import time

import pytest
from msgspec.structs import replace
from tests.monitor.browser import HOSTILE, Browser, Host, needs_browser, webdriver
from tests.monitor.sample import port, server_status

from backhaul.monitor.samples import Sample
from backhaul.monitor.status import ClientStatus, GroupStatus, LimitStatus
from backhaul.state import MemberState

pytestmark = needs_browser


def test_state_ports_events_and_load_are_shown(browser: Browser, host: Host) -> None:
    host.tunnel.say(ports=(port(443, received=1 << 20, sent=5 << 30, target="web.example:8443"),))
    browser.look(host)
    assert browser.text("#state") == "Connected to 192.0.2.7:40112"
    facts = browser.text("#facts").split("\n")
    assert (
        dict(zip(facts[::2], facts[1::2], strict=True)).items()
        >= {
            "Round trip": "12.3 ms",
            "Open connections": "2",
            "Idle in the pool": "3 of 8",
            "Total traffic": "5.00 GiB",
        }.items()
    )
    row = browser.text("#ports tr")
    assert all(part in row for part in ("443", "to web.example:8443", "5.00 GiB", "1.00 MiB"))
    host.say(logging.INFO, "client connected")
    browser.wait(lambda: "client connected" in browser.text("#events"))
    assert "Processor" in browser.text("#meters")
    assert browser.driver.title == "Up · Backhaul server"


def test_numbers_change_without_a_reload(browser: Browser, host: Host) -> None:
    browser.look(host)
    browser.script("window.sameDocument = true")
    host.second(received=125_000, sent=1_250_000)
    browser.wait(lambda: browser.text("#rate-down") == "10.0 Mbit/s")
    assert browser.text("#rate-up") == "1.00 Mbit/s"
    host.second(received=0, sent=12_500_000)
    browser.wait(lambda: browser.text("#rate-down") == "100 Mbit/s")
    assert browser.script("return document.querySelector('#line-down').getAttribute('d')") == "M298 90.0L299 0.0"
    host.tunnel.say(connected=False, peer="")
    browser.wait(lambda: browser.text("#state") == "Waiting for the client …")
    assert browser.driver.title.startswith("DOWN")
    assert browser.script("return window.sameDocument")


def test_a_port_shows_its_rate(browser: Browser, host: Host) -> None:
    browser.look(host)
    browser.wait(lambda: "0 bit/s" in browser.text("#ports tr td:nth-child(3)"))
    host.second(received=0, sent=1 << 30)
    browser.wait(lambda: "Gbit/s" in browser.text("#ports tr td:nth-child(3)"))


def test_a_port_that_is_down_shows_the_reason(browser: Browser, host: Host) -> None:
    down = replace(port(443), up=False, problem="address already in use")
    host.tunnel.say(connected=False, problem="can't listen on 192.0.2.1:3080", ports=(down,))
    browser.look(host)
    assert browser.text("#state") == "can't listen on 192.0.2.1:3080"
    assert browser.text("#ports th").endswith("down: address already in use")


def test_the_servers_of_a_client_show_their_states(browser: Browser, host: Host) -> None:
    servers = (server_status("a.example:1"), server_status("b.example:2", peer="", in_use=False))
    host.tunnel.say(side="client", servers=servers)
    browser.look(host)
    facts = browser.text("#facts").split("\n")
    shown = dict(zip(facts[::2], facts[1::2], strict=True))
    assert shown["a.example:1"] == "wssmux, connected"
    assert shown["b.example:2"] == "not in use"


def test_a_unix_socket_has_a_path_for_a_port(browser: Browser, host: Host) -> None:
    host.tunnel.say(ports=(replace(port(0, target="unix:/run/web.sock"), bind="/run/app.sock"),))
    browser.look(host)
    assert browser.text("#ports th").split("\n") == ["unix:/run/app.sock", "to unix:/run/web.sock"]


def test_the_clients_page_shows_targets(browser: Browser, host: Host) -> None:
    client_port = replace(port(5201, target="10.0.0.30:5201"), bind="")
    host.tunnel.say(side="client", connected=False, ports=(client_port,), pool_size=None, rtt=None)
    browser.look(host)
    assert browser.text("#state") == "Connecting to the server …"
    assert browser.text("#ports-column") == "Target"
    assert browser.text("#ports th").split("\n") == ["10.0.0.30:5201"]
    assert "all but Unix sockets" in browser.text("#facts")
    host.tunnel.say(allow_targets=tuple(f":{port}" for port in range(1, 8)))
    browser.wait(lambda: ":1, :2, :3, :4, :5 and 2 more" in browser.text("#facts"))


def test_texts_of_peers_are_not_interpreted(browser: Browser, host: Host) -> None:
    host.say(logging.WARNING, HOSTILE)
    host.tunnel.say(peer=HOSTILE, version=HOSTILE, transport=HOSTILE)
    browser.look(host)
    host.second(received=1, sent=8_000_000)
    browser.wait(lambda: browser.text("#rate-down") == "64.0 Mbit/s")
    assert HOSTILE in browser.text("#ports")
    browser.wait(lambda: HOSTILE in browser.text("#events"))
    assert HOSTILE in browser.text("#state")
    assert browser.script("return document.querySelectorAll('main img, body script').length") == 0
    assert browser.driver.title == "Up · Backhaul server"


def luminance(colour: str) -> float:
    """Return the relative luminance (WCAG 2.2) of "rgb(r, g, b)"."""
    numbers = [int(part) / 255 for part in colour[4:-1].split(",")]
    red, green, blue = (n / 12.92 if n <= 0.04045 else ((n + 0.055) / 1.055) ** 2.4 for n in numbers)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_have_enough_contrast(browser: Browser, host: Host, scheme: str) -> None:
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        host.say(level, "text")
    host.tunnel.say(ports=(replace(port(443), dropped=3),))
    browser.look(host, scheme=scheme)
    browser.wait(lambda: browser.text("#events").count("text") == 3)
    ground, card = browser.style("body", "background-color"), browser.style(".card", "background-color")
    assert (luminance(ground) < 0.1) == (scheme == "dark")
    on_card = ("#state", "dt", "dd", "#ports small", "#ports .trouble", "#events time", ".warning b", ".error b", "i")
    assert contrast(browser.style("#about", "color"), ground) >= 4.5
    assert {s: contrast(browser.style(s, "color"), card) >= 4.5 for s in on_card} == dict.fromkeys(on_card, True)


STICKS_OUT = """
    const inner = (card) => card.getBoundingClientRect().right - parseFloat(getComputedStyle(card).paddingRight);
    const sticksOut = (part) => part.getBoundingClientRect().right > inner(part.closest(".card")) + 0.5;
    return [...document.querySelectorAll(".card *:not(path)")].filter(sticksOut).map((part) => part.outerHTML);
"""


@pytest.mark.parametrize("width", [320, 360, 768, 1400])
def test_the_page_fits_its_width(browser: Browser, host: Host, width: int) -> None:
    long_name = "a-rather-long-name-without-any-space-in-it" * 3
    member = MemberState(long_name, 10**6, "unhealthy", long_name, 10**9, 10**6)
    host.tunnel.say(
        peer=f"[2001:db8:1111:2222:3333:4444:5555:6666]:{width}",
        ports=tuple(
            replace(port(60000 + n, sent=10**15, received=10**15, target=f"{long_name}:{n}"), group=long_name)
            for n in range(15)
        ),
        limits=(LimitStatus("limits.60001", "bytes_per_month_per_source", "bytes", 10**15, 10**14),),
        clients=(ClientStatus(long_name, False, "", long_name, None, 0, 5, 0),),
        groups=(GroupStatus(long_name, "least", (member,), f"http:/{long_name}", 3600),),
    )
    host.say(logging.ERROR, long_name * 3)
    host.samples[""] = host.samples[f"group {long_name}"] = [
        Sample(int(host.now // 60) - minute, 10**6, 10**6, 9, 9, 10**9, 10**12) for minute in range(99)
    ]
    browser.look(host, width=width)
    browser.script("document.querySelector('#configuration-card').open = true")
    browser.script("document.querySelector('#clients .minor').click()")  # the group
    browser.wait(lambda: long_name in browser.text("#events"))
    browser.wait(lambda: "bit/s" in browser.text("#ports tr"))
    room = browser.script("return document.documentElement.clientWidth")
    assert width - 20 < room <= width  # a scroll bar for the height is fine
    assert browser.script("return document.documentElement.scrollWidth") == room
    assert browser.script(STICKS_OUT) == []


def test_the_keyboard_reaches_everything(browser: Browser, host: Host) -> None:
    host.tunnel.say(ports=tuple(port(10000 + n, sent=n) for n in range(30)))
    host.say(logging.INFO, "begun")
    browser.look(host)
    for sent in (0, 1_000_000, 2_000_000):
        host.second(received=0, sent=sent)
    browser.wait(lambda: browser.text("#rate-down") == "16.0 Mbit/s")
    keys = webdriver.Keys
    reached = []
    browser.wait(lambda: browser.text("#events"))
    for _ in range(13):
        browser.press(keys.TAB)
        reached.append(browser.script("return document.activeElement.id"))
        assert browser.script("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
        if reached[-1] == "plot":
            browser.press(keys.ARROW_LEFT)
            assert "8.00 Mbit/s to, 0 bit/s from users" in browser.text("#readout")
            browser.press(keys.ESCAPE)
            assert browser.text("#readout") == ""
    tools = ["connections-search", "connections-port", "connections-state", "connections-curl"]
    assert reached == [
        "plot",
        "day-span",
        "day",
        "filter",
        "",
        "ports-more",
        *tools,
        "events-level",
        "events-search",
        "events",
    ]


def test_arrow_keys_lead_from_port_to_port(browser: Browser, host: Host) -> None:
    host.tunnel.say(ports=tuple(port(n) for n in (1, 2, 3)))
    browser.look(host)
    browser.script("document.querySelector('#ports button').focus()")
    browser.press(webdriver.Keys.END + webdriver.Keys.ARROW_UP)
    assert browser.script("return document.activeElement.textContent") == "2"
    host.second(received=0, sent=1 << 20)
    browser.wait(lambda: "1.00 MiB" in browser.text("#ports"))
    assert browser.script("return document.activeElement.textContent") == "2"
    assert browser.script("return document.querySelectorAll('#ports button[tabindex=\"0\"]').length") == 1


def test_the_pointer_shows_values_of_the_graph(browser: Browser, host: Host) -> None:
    for second in range(300):
        host.second(received=0, sent=1_000_000 if second < 200 else 2_000_000)
    browser.look(host)
    plot = browser.driver.find_element("id", "plot")
    for place, read in ((0, "8.00 Mbit/s to"), (plot.size["width"] // 4, "16.0 Mbit/s to")):
        webdriver.ActionChains(browser.driver).move_to_element_with_offset(plot, place, 0).perform()
        assert read in browser.text("#readout")


def test_many_ports_are_filtered_and_shown_on_demand(browser: Browser, host: Host) -> None:
    host.tunnel.say(ports=tuple(port(10000 + n, sent=n, target=f"host-{n}:80") for n in range(100)))
    browser.look(host)
    rows = "return document.querySelectorAll('#ports tr').length"
    assert browser.script(rows) == 20
    assert browser.text("#ports tr").startswith("10099")  # the busiest
    browser.driver.find_element("id", "filter").send_keys("HOST-42")
    assert browser.script(rows) == 1
    browser.driver.find_element("id", "filter").send_keys(webdriver.Keys.BACKSPACE * len("HOST-42"))
    browser.driver.find_element("id", "ports-more").click()
    assert browser.script(rows) == 100
    assert not browser.driver.find_element("id", "ports-more").is_displayed()


def test_screen_readers_get_a_table_a_state_and_a_slider(browser: Browser, host: Host) -> None:
    browser.look(host, width=360)
    host.second(received=0, sent=1_000_000)
    browser.wait(lambda: browser.text("#rate-down") == "8.00 Mbit/s")

    def seen() -> set[tuple[str, str]]:
        nodes = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        return {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]}

    roles = {"heading", "table", "row", "columnheader", "rowheader", "cell", "meter", "slider", "list"}
    browser.wait(lambda: roles <= {role for role, _ in seen()})  # Chromium builds the tree after the page
    assert ("table", "Ports") in seen()
    assert browser.script("return document.querySelector('#state').getAttribute('aria-live')") == "polite"
    spoken = browser.script("return document.querySelector('#plot').getAttribute('aria-valuetext')")
    assert "8.00 Mbit/s to" in spoken


def test_a_lost_server_is_shown_and_found_again(browser: Browser, host: Host) -> None:
    browser.look(host)
    host.stop()
    browser.wait(lambda: "No answer from Backhaul since" in browser.text("#stale"))
    assert browser.driver.title == "No answer · Backhaul"


def test_events_are_filtered_by_level_and_text(browser: Browser, host: Host) -> None:
    for level, text in ((logging.INFO, "port 80 opens"), (logging.WARNING, "port 80 slow"), (logging.ERROR, "disk")):
        host.say(level, text)
    browser.look(host)
    lines = "return document.querySelectorAll('#events li').length"
    browser.wait(lambda: browser.script(lines) == 3)
    browser.driver.find_element("id", "events-level").send_keys("W")
    assert browser.script(lines) == 2
    browser.driver.find_element("id", "events-search").send_keys("Port")
    assert browser.text("#events").endswith("port 80 slow")
    assert browser.text("#events-count") == "1 of 3"
    host.say(logging.ERROR, "port 80 down")
    browser.wait(lambda: browser.script(lines) == 2)


def test_the_health_of_targets_is_shown(browser: Browser, host: Host) -> None:
    now = time.time()
    good, bad = replace(port(80), reached=now, failed=now - 9), replace(port(443), failed=now, failure="timed out")
    host.tunnel.say(ports=(good, bad))
    browser.look(host)
    first, second = (row.text for row in browser.driver.find_elements("css selector", "#ports th"))
    assert "target reached" in first
    assert "target failed" in second
    assert second.endswith(": timed out")


def test_the_configuration_in_effect_needs_a_login(browser: Browser) -> None:
    for login, text in (("admin", "nodelay\ttrue"), ("", "needs a login")):
        with Host(login=login) as host:
            browser.look(host)
            browser.driver.find_element("css selector", "summary").click()
            browser.wait(lambda: text in browser.text("#configuration-card"))  # noqa: B023 - used at once
