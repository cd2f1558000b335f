"""The page at /demo, in a browser: what it shows is what the interface answers, and whatever ids hold is harmless."""

import json
import pathlib
import random
import re
import shlex
import subprocess

import pytest
from browser import Browser
from serving import Server, ids
from test_keys import line

import stamp

WITH_PAGE = {"demo": {"enabled": True}, "predict": {"deadline_ms": 20000}}
ZONES = ["home", "product_page"]
ASKED_AND_SHOWN = "[...document.querySelectorAll('.zone')].every(z => z.ariaBusy === 'false')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.end()


@pytest.fixture(scope="module")
def shown(bundle, tmp_path_factory):
    """A server that has the page; each page is another visitor."""
    config = {"bundle": str(bundle), "visits": {"store": "memory"}, **WITH_PAGE}
    server = Server(config, tmp_path_factory.mktemp("demo") / "c.json")
    yield server
    server.end()


class Demo:
    """The page, as its visitors use it."""

    def __init__(self, browser: Browser, server: Server, **options) -> None:
        self.page = browser.page(f"http://127.0.0.1:{server.port}/demo", **options)
        self.settle()

    def settle(self, last: str = "") -> None:
        """Until each zone shows what it was asked last, with this product looked at."""
        self.page.wait(
            f"document.querySelector('.zone') && {ASKED_AND_SHOWN} && "
            f"[...document.querySelectorAll('.zone')].every(z => z.dataset.last === {json.dumps(last)})"
        )

    def look(self, product: str) -> None:
        self.page.run(
            f"[...document.querySelectorAll('.tile')].find(t => t.dataset.id === {json.dumps(product)}).click()"
        )
        self.settle(product)

    def click(self, selector: str) -> None:
        self.page.run(f"document.querySelector({json.dumps(selector)}).click()")

    def fill(self, field: str, value: str) -> None:
        self.page.run(
            f"{{ const f = document.getElementById('{field}'); f.value = {json.dumps(value)};"
            "f.dispatchEvent(new Event('input', {bubbles: true})); f.dispatchEvent(new Event('change', {bubbles: true})) }"
        )

    def listed(self, zone: str) -> list[str]:
        return self.page.run(
            f"[...document.querySelectorAll('.zone[data-zone={json.dumps(zone)}] li')].map(li => li.dataset.id)"
        )

    def lists(self) -> dict[str, list[str]]:
        return {zone: self.listed(zone) for zone in ZONES}

    def text(self, selector: str) -> str:
        return self.page.run(f"document.querySelector({json.dumps(selector)}).textContent")

    def tiles(self) -> list[str]:
        return self.page.run("[...document.querySelectorAll('.tile')].map(tile => tile.dataset.id)")

    @property
    def visitor(self) -> str:
        return self.text("#visitor")

    def asked(self, end: str) -> list[dict]:
        """Requests so far whose path ends so."""
        return [request for request in self.page.requests if request["url"].endswith(end)]


def lists_of(server: Server, **question) -> dict[str, list[str]]:
    return {zone: ids(server.predict(zone, **question)) for zone in ZONES}


def products(server: Server, **asked) -> dict:
    reply = server.post("/demo/products", asked)
    assert reply.status == 200, reply.body
    return reply.json


def test_it_is_off_unless_asked_for(server):
    assert server.get("/demo", admin=False).status == 404
    assert server.post("/demo/products", {}).status == 404


def test_its_address_is_in_the_log(shown):
    assert any(f"http://127.0.0.1:{shown.port}/demo\n" in line for line in shown.log)


def test_it_is_one_file_under_a_policy(shown):
    reply = shown.get("/demo", admin=False)
    assert reply.status == 200 and reply.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in reply.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'" and policy["img-src"] == "data:"
    assert all(re.fullmatch("'sha256-[A-Za-z0-9+/]{43}='", policy[f"{part}-src"]) for part in ("script", "style"))
    assert shown.post("/demo", {}).status == 405


def test_products_are_those_of_the_bundle(shown, shop, recommender):
    popular = recommender.recommend([], k=120).ids.tolist()
    page = products(shown, limit=10)
    assert [product["id"] for product in page["products"]] == popular[:10]
    assert page["found"] == page["shop"]["products"] == 120
    assert [p["id"] for p in products(shown, offset=110, limit=20)["products"]] == popular[110:]
    assert products(shown, offset=120)["products"] == []
    assert page["shop"]["zones"] == [{"zone": "home", "k": 4}, {"zone": "product_page", "k": 5}]
    columns = {name: list(column) for name, column in shop.products.items()}
    row = columns["id"].index(popular[0])
    known = {a["name"]: a["value"] for a in page["products"][0]["attributes"]}
    assert known.keys() == columns.keys() - {"id"} | {"available"}
    assert known["category"] == columns["category"][row]
    assert known["price"] == pytest.approx(columns["price"][row], rel=1e-6)


def test_products_are_found_by_id_and_attribute(shown, shop):
    def found(text: str) -> set[str]:
        return {product["id"] for product in products(shown, search=text, limit=100)["products"]}

    every = list(shop.products["id"])
    assert found("SKU-0001") == {id for id in every if "sku-0001" in id}
    category = shop.products["category"][0]
    assert 0 < len(found(category.upper())) < 120
    assert found(category.upper()) == {id for id, c in zip(every, shop.products["category"]) if c == category}
    assert found("no such product") == set()
    asked = products(shown, ids=["sku-00007", "gone", "sku-00003"])
    assert [product["id"] for product in asked["products"]] == ["sku-00007", "sku-00003"]


@pytest.mark.parametrize(
    ("asked", "says"),
    [({"limit": 0}, "limit: 0"), ({"limit": 101}, "limit: 101"), ({"offset": -1}, "offset: -1"), ({"search": 1}, "search: 1"),
     ({"ids": [7]}, "ids[0]: 7"), ({"page": 1}, "page: there is no such key")],
)  # fmt: skip
def test_what_cannot_be_asked_of_products(shown, asked, says):
    reply = shown.post("/demo/products", asked)
    assert reply.status == 400 and reply.error.startswith(says)


def test_lists_follow_what_is_clicked(browser, shown, recommender):
    demo = Demo(browser, shown)
    assert demo.tiles() == recommender.recommend([], k=24).ids.tolist()
    assert demo.lists() == lists_of(shown)
    visit = []
    for product in (demo.tiles()[5], demo.tiles()[17]):
        before = demo.lists()
        demo.look(product)
        visit.append(product)
        assert demo.lists() != before
        assert demo.lists() == lists_of(shown, events=visit) == lists_of(shown, userEvent={"visitorId": demo.visitor})
    row = demo.listed("product_page")[-1]
    demo.page.run(
        f"document.querySelector('.zone[data-zone=product_page] li[data-id={json.dumps(row)}] button').focus()"
    )
    demo.page.press("Enter", "\r")
    demo.settle(row)
    assert demo.lists() == lists_of(shown, events=[*visit, row])
    assert demo.page.run("document.activeElement.id") == "viewed-title"  # what was clicked is gone
    assert demo.text(".zone[data-zone=home] .chip") == "anchor"
    facts = demo.text(".zone[data-zone=home] .facts")
    assert "4 products" in facts and "release bundle" in facts and re.search(r"\d\.\d ms", facts)
    scores = demo.page.run(
        "[...document.querySelectorAll('.zone[data-zone=home] .bar i')].map(i => parseFloat(i.style.width))"
    )
    assert scores[0] == 100 and scores == sorted(scores, reverse=True)
    origin = f"http://127.0.0.1:{shown.port}/"
    assert all(request["url"].startswith((origin, "data:")) for request in demo.page.requests)
    assert demo.page.problems == []


def test_the_visitor_stays_and_another_one_comes(browser, shown):
    demo = Demo(browser, shown)
    visitor, product = demo.visitor, demo.tiles()[3]
    demo.look(product)
    lists = demo.lists()
    demo.page.go(f"http://127.0.0.1:{shown.port}/demo")
    demo.settle(product)
    assert demo.visitor == visitor and demo.lists() == lists
    demo.click("#new-visitor")
    demo.settle()
    assert demo.visitor != visitor and demo.lists() == lists_of(shown)
    assert demo.page.run("document.querySelectorAll('#trail li').length") == 0
    assert demo.page.problems == []


def test_what_is_bought_is_excluded(browser, shown):
    demo = Demo(browser, shown)
    product = demo.tiles()[2]
    demo.look(product)
    assert product in demo.listed("home")
    demo.click("#buy")
    demo.page.wait("document.querySelectorAll('#trail li').length === 2")
    demo.page.wait(
        f"{ASKED_AND_SHOWN} && !document.querySelector('.zone[data-zone=home] li[data-id={json.dumps(product)}]')"
    )
    assert demo.lists() == lists_of(shown, userEvent={"visitorId": demo.visitor})


def test_explanations_are_those_of_the_answer(browser, shown):
    demo = Demo(browser, shown)
    product = demo.tiles()[4]
    demo.look(product)
    demo.click(".zone[data-zone=product_page] [aria-label^=Explain]")
    demo.page.wait("document.querySelector('.zone[data-zone=product_page] .explanation')")
    truth = shown.predict("product_page", events=[product], explain=True).json["explanation"]
    tables = demo.page.run(
        "[...document.querySelectorAll('.explanation table')].map(t => [...t.tBodies[0].rows].map(r => [...r.cells].map(c => c.textContent)))"
    )
    removed = [[r["rule"], r["path"], str(r.get("removed", "–"))] for r in truth["rules"]]
    assert tables[0] == removed and any(row[2] == "1" for row in removed)
    assert [(row[0], row[2]) for row in tables[1]] == [
        (str(m["rank"]), m["by"] or "others came first") for m in truth["missing"]
    ]
    pinned = products(shown, offset=110, limit=1)["products"][0]
    demo.fill("rules", json.dumps({"rule": "pin", "products": [pinned["id"]]}))
    chip = "document.querySelector('.zone[data-zone=product_page] .moves .chip')"
    demo.page.wait(f"{ASKED_AND_SHOWN} && {chip}?.textContent === 'pinned by rules[0]'")
    first = "[...document.querySelectorAll('.zone li:first-child')].map(li => [li.dataset.id, li.querySelector('small').textContent.split(' ')[0]])"
    category = next(a["value"] for a in pinned["attributes"] if a["name"] == "category")
    assert demo.page.run(first) == [[pinned["id"], category]] * 2  # both lists wait for what is known of it
    assert demo.page.problems == []


def test_what_is_asked_can_be_changed(browser, shown):
    demo = Demo(browser, shown)
    product = demo.tiles()[1]
    demo.look(product)
    rules = [{"rule": "limit", "attribute": "category", "max": 1}]
    demo.fill("k", "3")
    demo.fill("rules", json.dumps(rules))
    demo.click("#exclude")
    demo.page.run("document.getElementById('exclude').dispatchEvent(new Event('input', {bubbles: true}))")
    truth = lists_of(shown, events=[product], k=3, rules=rules, exclude=[product])
    for zone, wanted in truth.items():
        demo.page.wait(
            f"JSON.stringify([...document.querySelectorAll('.zone[data-zone={zone}] li')].map(li => li.dataset.id)) === "
            f"{json.dumps(json.dumps(wanted, separators=(',', ':')))}"
        )
    demo.fill("rules", '{"rule": "only_products", "products": ["sku-00099"]}')
    demo.page.wait("document.querySelector('.zone[data-zone=home] .notes').textContent.startsWith('1 of 3: ')")
    demo.fill("rules", '[{"rule": "limit"')
    demo.page.wait("!document.getElementById('wrong-rules').hidden")
    assert demo.page.problems == []
    demo.fill("rules", '[{"rule": "limits"}]')
    demo.page.wait("document.querySelector('.zone .wrong')?.textContent.includes('rules[0]')")


def test_an_objective_can_be_asked_for_where_models_have_learnt_some(browser, shown, orders_bundle, start):
    assert products(shown)["shop"]["objectives"] == []
    hidden = "document.getElementById('objective-field').hidden"
    assert Demo(browser, shown).page.run(hidden)
    server = start(bundle=str(orders_bundle), **WITH_PAGE)
    assert products(server)["shop"]["objectives"] == ["order"]
    demo = Demo(browser, server)
    assert not demo.page.run(hidden)
    turned = "[...document.querySelectorAll('.zone[data-zone=home] .turned')].map(p => p.textContent)"
    demo.fill("tail", "0.5")
    demo.fill("objective", '{"order": 1}')
    demo.click(".zone[data-zone=home] [aria-label^=Explain]")
    demo.page.wait(f"{turned}.length === 2")
    of_no_model = "the scores of this list are not a model's"  # before anything is looked at
    assert demo.page.run(turned) == [f"value 0, tail 0.5: {of_no_model}", f"objective: order 1: {of_no_model}"]
    demo.fill("tail", "")
    demo.fill("objective", "")
    lists = {
        product: [ids(server.predict("home", events=[product], objective={name: 1})) for name in ("click", "order")]
        for product in demo.tiles()
    }
    product, (clicks, wanted) = next((product, both) for product, both in lists.items() if both[0] != both[1])
    demo.look(product)
    assert demo.listed("home") == clicks
    demo.fill("objective", '{"order": 1}')
    demo.page.wait(
        "JSON.stringify([...document.querySelectorAll('.zone[data-zone=home] li')].map(li => li.dataset.id)) === "
        f"{json.dumps(json.dumps(wanted, separators=(',', ':')))}"
    )
    assert demo.text("#own") == 'objective {"order":1}'
    demo.fill("tail", "0.5")
    demo.page.wait(f"{turned}.length === 2")
    assert demo.page.run(turned) == ["value 0, tail 0.5", "objective: order 1"]
    demo.fill("tail", "")
    demo.fill("objective", "orders")
    demo.page.wait("!document.getElementById('wrong-number').hidden")
    assert "weights of click, order are expected" in demo.text("#wrong-number")
    assert demo.page.problems == []


def test_requests_work_as_they_are_shown(browser, shown):
    demo = Demo(browser, shown)
    product = demo.tiles()[6]
    demo.look(product)
    for zone in ZONES:
        demo.click(f".zone[data-zone={zone}] [aria-label^=Request]")
        line = demo.text(f".zone[data-zone={zone}] pre.curl")
        answer = json.loads(demo.text(f".zone[data-zone={zone}] pre.answer"))
        got = json.loads(subprocess.run(["bash", "-c", f"{line} --silent"], capture_output=True, check=True).stdout)
        for one in (got, answer):
            del one["attributionToken"]
        assert got == answer
    written = demo.text("#written pre.curl")
    assert shlex.split(written)[-1].endswith("/v1/userEvents:write")
    again = subprocess.run(["bash", "-c", f"{written} --silent"], capture_output=True, check=True).stdout
    assert json.loads(again)["visitorId"] == demo.visitor


def test_without_a_store_requests_bring_their_events(browser, start):
    server = start(visits={"store": "none"}, **WITH_PAGE)
    demo = Demo(browser, server)
    visit = [demo.tiles()[5], demo.tiles()[9]]
    for product in visit:
        demo.look(product)
    assert demo.lists() == lists_of(server, events=visit)
    demo.click("#buy")
    demo.page.wait("document.querySelectorAll('#trail li').length === 3")
    demo.page.wait(
        f"{ASKED_AND_SHOWN} && !document.querySelector('.zone[data-zone=home] li[data-id={json.dumps(visit[1])}]')"
    )
    assert demo.lists() == lists_of(server, events=[*visit, visit[1]], bought=[visit[1]])
    assert demo.asked(":write") == [] and demo.page.problems == []


def test_where_writing_wants_a_key(browser, start, tmp_path):
    (tmp_path / "keys").write_text(line("shop", "the-key"))
    server = start(keys={"file": str(tmp_path / "keys")}, **WITH_PAGE)
    demo = Demo(browser, server)
    first, second, third = demo.tiles()[:3]
    demo.look(first)
    assert "wants a key" in demo.text("#kept") and demo.asked(":write") == []
    assert demo.lists() == lists_of(server, events=[first])
    demo.fill("key", "another")
    demo.look(second)
    assert "not stored" in demo.text("#banner")
    assert demo.lists() == lists_of(server, events=[first, second])
    demo.fill("key", "the-key")
    demo.look(third)
    assert not demo.page.run("document.getElementById('banner').offsetParent")
    assert demo.lists() == lists_of(server, events=[first, second, third])  # the server knows the third alone
    again = f"KEY=the-key; {demo.text('#written pre.curl')} --silent"
    assert json.loads(subprocess.run(["bash", "-c", again], capture_output=True, check=True).stdout)["visitorId"]
    demo.click("#new-visitor")
    demo.settle()
    for product in (first, second):
        demo.look(product)
    truth = lists_of(server, userEvent={"visitorId": demo.visitor})
    assert demo.lists() == truth == lists_of(server, events=[first, second])
    assert "stored by the server" in demo.text("#kept")
    assert "the-key" not in demo.page.run("JSON.stringify(localStorage) + document.body.innerHTML")


def bundle_of_visits(folder: pathlib.Path, visits: list[tuple], products=None, **options) -> pathlib.Path:
    sessions = stamp.Sessions.from_frame({"session_id": [s for s, _ in visits], "item_id": [p for _, p in visits]})
    model = stamp.StampRecommender(device="cpu", dim=8, epochs=1, seed=1).fit(sessions, progress=False)
    model.save(folder / "model")
    stamp.build_bundle({0: folder / "model"}, products, out=folder / "own", **options)
    return folder / "own"


def test_integers_are_ids_too(browser, start, tmp_path):
    draw = random.Random(6)
    visits = [(session, 1000 + draw.randrange(12)) for session in range(200) for _ in range(4)]
    bundle = bundle_of_visits(tmp_path, visits)
    server = start(bundle=str(bundle), visits={"store": "none"}, **WITH_PAGE)
    demo = Demo(browser, server)
    product = demo.tiles()[3]
    demo.look(product)
    demo.click("#exclude")
    assert demo.page.run("document.querySelectorAll('.zone').length") == 1  # the bundle has no zone: no zone's rules
    example = "[...document.getElementById('example').options].find(o => o.text === 'Pin a product').value"
    pinned = json.loads(demo.page.run(example))["products"][0]
    demo.fill("example", json.dumps({"rule": "pin", "products": [pinned]}, separators=(",", ":")))
    demo.page.wait(f"document.querySelector('.zone li').dataset.id === '{pinned}'")
    asked = {"events": [product], "exclude": [product], "rules": [{"rule": "pin", "products": [pinned]}]}
    assert demo.listed("default") == ids(server.predict(**asked))
    assert demo.page.problems == []


HOSTILE = [
    '<img src=x onerror="window.hit=1">', '"><script>window.hit=1</script>', "' onmouseover='window.hit=1", "</script><b>",
    "javascript:window.hit=1", "${window.hit=1}", "{{window.hit=1}}", "it's $(touch hit) `id`", "../../../v1", "__proto__",
    "constructor", "%00%0d%0a", "a\u202eb\u0007", "<svg/onload=window.hit=1>", "<a href=javascript:window.hit=1>x</a>",
]  # fmt: skip


def test_hostile_ids_are_texts(browser, start, tmp_path):
    draw = random.Random(5)
    visits = [(session, draw.choice(HOSTILE)) for session in range(300) for _ in range(4)]
    columns = {"item_id": HOSTILE, "title": [f"{id}!" for id in HOSTILE], HOSTILE[0]: [f"{id}?" for id in HOSTILE]}
    zone = "<b onclick='window.hit=1'>"
    rules = {"zones": {zone: {"k": 15, "rules": [{"rule": "limit", "attribute": HOSTILE[0], "max": 1}]}}}
    bundle = bundle_of_visits(tmp_path, visits, stamp.Products.from_frame(columns), rules=rules)
    demo = Demo(browser, server := start(bundle=str(bundle), **WITH_PAGE))
    demo.click(".zone [aria-label^=Explain]")
    demo.click(".zone [aria-label^=Request]")
    assert sorted(demo.tiles()) == sorted(HOSTILE)
    for n, product in enumerate(HOSTILE, 1):
        demo.look(product)
        assert demo.text("#viewed-title") == f"{product}!"
        assert demo.page.run("[...document.querySelectorAll('.zone li')].map(li => li.dataset.id)") == ids(
            server.predict("%3Cb%20onclick=%27window.hit=1%27%3E", events=HOSTILE[:n])
        )
    got = subprocess.run(
        ["bash", "-c", demo.text(".zone pre.curl") + " --silent"], capture_output=True, check=True, cwd=tmp_path
    )
    assert len(json.loads(got.stdout)["results"]) == len(HOSTILE) and not (tmp_path / "hit").exists()
    assert demo.page.run("typeof window.hit") == "undefined"
    assert (
        demo.page.run("document.querySelectorAll('img, b b, script, [onclick], [onerror], [onmouseover]').length") == 1
    )
    assert demo.page.problems == []


def test_nothing_foreign_is_let_in(browser, shown, server):
    demo = Demo(browser, shown)
    elsewhere = f"http://127.0.0.1:{server.port}/openapi.json"
    assert (
        demo.page.run(f"fetch('{elsewhere}', {{mode: 'no-cors'}}).then(() => 'let in', () => 'kept out')") == "kept out"
    )
    load = "new Promise(done => { const e = document.createElement('%s'); e.onload = () => done('let in'); e.onerror = () => done('kept out'); e.src = '%s'; document.body.append(e) })"
    assert demo.page.run(load % ("img", elsewhere)) == "kept out"
    markup = "(() => { try { document.body.insertAdjacentHTML('beforeend', '<b>'); return 'let in' } catch { return 'kept out' } })()"
    assert demo.page.run(markup) == "kept out"


def test_searching_and_paging(browser, shown):
    demo = Demo(browser, shown)
    first = demo.tiles()
    demo.click("#after")
    demo.page.wait("document.getElementById('page').textContent.startsWith('25')")
    assert not set(first) & set(demo.tiles())
    demo.fill("search", "sku-0000")
    demo.page.wait("document.getElementById('found').textContent === '10 found'")
    assert sorted(demo.tiles()) == [f"sku-0000{i}" for i in range(10)]


@pytest.mark.parametrize(("width", "height", "scheme"), [(390, 844, "light"), (1280, 900, "dark")])
def test_it_fits_and_everything_has_a_name(browser, shown, width, height, scheme):
    demo = Demo(browser, shown, width=width, height=height, prefers_color_scheme=scheme)
    demo.look(demo.tiles()[0])
    demo.click("#asking summary")
    for part in ("Explain", "Request"):
        demo.click(f".zone [aria-label^={part}]")
    demo.click("#show-written")
    demo.page.wait("document.querySelector('.explanation')")
    assert demo.page.run("document.documentElement.scrollWidth") <= width
    controls = demo.page.controls()
    assert len(controls) > 40 and all(name.strip() for _, name in controls)
    ground = demo.page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(ground) < 64) == (scheme == "dark")


def test_by_keyboard_alone(browser, shown):
    demo = Demo(browser, shown)
    focused = []
    while "tile" not in (focused[-1:] or [""])[0]:
        assert len(focused) < 10
        demo.page.press("Tab")
        focused.append(demo.page.run("document.activeElement.className + document.activeElement.id"))
    assert focused[0] == "skip"
    product = demo.page.run("document.activeElement.dataset.id")
    demo.page.press("Enter", "\r")
    demo.settle(product)
    assert demo.lists() == lists_of(shown, events=[product])
    assert demo.page.run("document.activeElement.dataset.id") == product
    assert "2 lists for" in demo.text("#status")
