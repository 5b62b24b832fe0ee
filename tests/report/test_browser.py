"""The page in a real browser: no errors, a table that filters and sorts, curves that say values."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from smoothcert import screen
from smoothcert.certificate import Settings
from smoothcert.data.inputs import Inputs
from smoothcert.execution.runner import RunOptions, run_certify, run_recertify
from smoothcert.methods import Irs
from smoothcert.report.page import report
from smoothcert.summary import correct_radii
from smoothcert.text import floor_to
from support.known_truth import PixelSum

pytestmark = pytest.mark.slow

SETTINGS = Settings(0.25, 16, n0=20, n=300)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium of this machine, or the one that Playwright has installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with playwright.sync_playwright() as started:
        try:
            yield started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"needs Chromium: {error}")


@pytest.fixture(scope="module")
def data() -> Inputs:
    """Inputs of many vote shares; two classes, of which the label is always 1."""
    rng = np.random.default_rng(0)
    images = rng.integers(4, 13, (120, 1, 2, 2)) / 16
    inputs = Inputs.from_arrays(images, np.ones(120, int), 1 / 16)
    return replace(inputs, classes=("cat", "<i>dog</i>"))


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """Two runs and a candidate, and the folder of their report."""
    folder = tmp_path_factory.mktemp("browser")
    base = run_certify(folder / "<b>base", PixelSum(28), data, SETTINGS, RunOptions())
    new = run_recertify(folder / "new", base, PixelSum(29), data, Irs(100), RunOptions())
    found = screen(base.certification(), [PixelSum(29)], data, per_input=30)
    report([base, new], folder / "out", (0.0, 0.1), found, [data])
    return base, new, folder / "out"


@pytest.fixture
def page(browser, made):
    """The report's page; anything that it complains of, or asks the network for, fails the test."""
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    opened, complaints = context.new_page(), []
    opened.set_default_timeout(5000)
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "request",
        lambda r: r.url.startswith(("file:", "data:", "blob:")) or complaints.append(r.url),
    )
    opened.goto((made[2] / "index.html").as_uri())
    opened.wait_for_selector("body[data-ready]")
    yield opened
    assert complaints == []
    context.close()


def as_table(page, run: int) -> None:
    """Show a run's certificates as a table, by number."""
    page.locator("[name=run]").select_option(str(run))
    page.locator("[name=view]").select_option("table")
    page.locator("[name=order]").select_option("index")


def cells(page, column: int) -> list[str]:
    """The texts of a column, in one look."""
    read = "(lines, column) => lines.map((line) => line.cells[column].innerText.trim())"
    return page.locator("#certificates tbody tr:not(.detail)").evaluate_all(read, column)


def test_every_certificate_is_explained_in_its_own_words(page, made):
    """What the page unpacks and fills in is what Certificate.explain says."""
    for number, run in enumerate(made[:2]):
        as_table(page, number)
        seen, following = [], page.get_by_role("button", name="Next")
        while True:
            page.locator("#certificates tbody button").evaluate_all(
                "all => all.map(b => b.click())"
            )
            shown = page.locator("tr.detail p").all_inner_texts()
            for index, text in zip(map(int, cells(page, 0)), shown, strict=True):
                assert text == run.certificates[index].explain(run.identity.settings.sigma)
                seen.append(index)
            if following.is_disabled():
                break
            following.click()
        assert seen == list(range(120))


def test_the_table_filters(page, made):
    certificates = made[0].certificates
    as_table(page, 0)
    page.locator("[name=outcome]").select_option("undecided")
    expected = [str(c.index) for c in certificates if c.outcome.name == "UNDECIDED"]
    assert 0 < len(expected) < 50
    assert cells(page, 0) == expected
    assert page.locator("#shown").inner_text() == (
        f"<b>base: 1 to {len(expected)} of {len(expected)} inputs that match, out of 120."
    )
    page.get_by_role("button", name="Show all").click()
    page.locator("[name=index]").fill("100-119")
    assert cells(page, 0) == [str(i) for i in range(100, 120)]
    page.locator("[name=radius]").fill("0.2")
    assert cells(page, 0) == [str(c.index) for c in certificates[100:] if c.radius >= 0.2]
    page.get_by_role("button", name="Show all").click()
    page.locator("[name=outcome]").select_option("wrong")
    wrong = [str(c.index) for c in certificates if c.predicted == 0]
    assert cells(page, 0) == wrong[:50]


def test_the_table_sorts(page, made):
    as_table(page, 0)
    page.get_by_role("button", name="radius", exact=True).click()
    head = page.locator("th[aria-sort]")
    assert head.get_attribute("aria-sort") == "ascending"
    page.get_by_role("button", name="radius", exact=True).click()
    assert head.get_attribute("aria-sort") == "descending"
    radii = sorted((c.radius for c in made[0].certificates), reverse=True)
    assert cells(page, 3) == [floor_to(radius, 4) for radius in radii[:50]]


def test_pages_are_turned_by_the_keyboard(page):
    as_table(page, 0)
    assert cells(page, 0)[0] == "0"
    following = page.get_by_role("button", name="Next")
    following.focus()
    page.keyboard.press("Enter")
    assert cells(page, 0)[0] == "50"
    page.keyboard.press("Enter")
    assert following.is_disabled()
    assert len(cells(page, 0)) == 20


def test_curves_say_their_values_under_the_pointer(page, made):
    chart = page.locator("#accuracy .plot")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    farthest = (
        max(c.radius for run in made[:2] for c in run.certificates if c.predicted == 1) * 1.02
    )
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    reading = page.locator("#accuracy .reading").inner_text()
    radius = farthest / 2
    assert reading.startswith(f"ℓ₂ radius {radius:.3f}: <b>base (σ = 0.25) ")
    share = float((correct_radii(made[0].certificates, made[0].labels) >= radius).mean())
    assert f"<b>base (σ = 0.25) {floor_to(share, 4)};" in reading
    assert "screened" not in reading
    page.get_by_role("button", name="<b>base (σ = 0.25)", exact=True).click()
    page.get_by_role("button", name=re.compile("screened")).click()
    reading = page.locator("#accuracy .reading").inner_text()
    assert "radius 0." in reading
    assert "<b>base" not in reading
    assert "pixel-sum (σ = 0.25), screened" in reading


def test_a_band_is_shown_where_it_is_asked_for(page):
    """At first that of the changed model; its lower edge is read with it."""
    areas, reading = page.locator("#accuracy .area"), page.locator("#accuracy .reading")
    page.locator("#accuracy .plot").focus()
    seen = {}
    for band in ("1", "", "0", "all"):
        page.locator("#accuracy [name=band]").select_option(band)
        page.locator("#accuracy .plot").press("Home")
        seen[band] = areas.evaluate_all("all => all.map(one => !one.hasAttribute('hidden'))")
        read = reading.inner_text().count("all inputs together")
        assert read == sum(seen[band]), band
    assert seen == {"1": [False, True], "": [False] * 2, "0": [True, False], "all": [True] * 2}


def test_curves_are_read_with_the_keyboard(page):
    page.locator("#accuracy .plot").focus()
    page.keyboard.press("End")
    assert "new (σ = 0.25) 0.0000" in page.locator("#accuracy .reading").inner_text()
    page.keyboard.press("Home")
    assert "ℓ₂ radius 0.000: <b>base (σ = 0.25) 0.6" in (
        page.locator("#accuracy .reading").inner_text()
    )


def test_the_gallery_begins_with_what_the_changed_model_lost_most(page, made):
    """With the original's radius beside; the order can be changed."""
    base, new = (np.clip(correct_radii(run.certificates, run.labels), 0, None) for run in made[:2])
    lost = sorted(range(120), key=lambda i: (-(base[i] - new[i]), i))
    cards = page.locator(".card")
    assert cards.count() == 50
    first = cards.first.inner_text()
    assert f"Input {lost[0]}: 1 (<i>dog</i>)" in first
    assert f"original {floor_to(base[lost[0]], 4)}" in first
    page.locator("[name=order]").select_option("large")
    best = max(range(120), key=lambda i: (new[i], -i))
    assert f"radius {floor_to(new[best], 4)}" in cards.first.inner_text()
    page.get_by_role("button", name=f"explain input {best}", exact=True).click()
    words = made[1].certificates[best].explain(0.25)
    assert cards.first.locator(".words p").inner_text() == words
    page.locator("[name=run]").select_option("0")
    assert "original" not in cards.first.inner_text()


def test_an_explanation_opens_alone_and_escape_closes_it(page):
    marks = page.locator("details.help > summary")
    marks.nth(0).press("Enter")
    page.locator(".figures .says").first.wait_for()
    assert "Each certificate is wrong with probability at most 0.002" in (
        page.locator(".figures .says").first.inner_text()
    )
    marks.nth(1).press("Enter")
    first_closed = ".figures:not(:has(.figure:first-child [open]))"
    page.locator(f"{first_closed} .figure:nth-child(2) [open] .says").wait_for()
    page.keyboard.press("Escape")
    assert page.locator("details.help[open]").count() == 0


def test_a_link_opens_what_is_folded(page):
    page.get_by_role("link", name="Settings").click()
    page.locator("#settings").wait_for()
    assert page.locator("details.folded[open] #settings").count() == 1


def test_inputs_have_pictures_and_classes_their_names(page):
    as_table(page, 0)
    assert page.get_by_role("img", name="picture of input 7", exact=True).is_visible()
    assert cells(page, 1)[0] == "1 (<i>dog</i>)"


@pytest.mark.parametrize("width", [360, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 740})
    page.locator(".folded").evaluate_all("all => all.map(d => { d.open = true; })")
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    right = "(captions) => captions.map((one) => one.getBoundingClientRect().right)"
    captions = page.locator("caption:visible").evaluate_all(right)
    assert captions
    assert max(captions) <= width
    colours = page.evaluate(
        "['color', 'backgroundColor'].map((name) => getComputedStyle(document.body)[name])"
    )
    assert (colours[1] == "rgb(255, 255, 255)") == (scheme == "light")


def test_print_leaves_out_what_only_a_screen_can_use(page):
    page.set_viewport_size({"width": 720, "height": 1000})  # A4 with margins of a centimetre
    page.emulate_media(media="print")
    wide = "(tables) => tables.map((one) => one.getBoundingClientRect().right)"
    assert max(page.locator("table:visible").evaluate_all(wide)) <= 720
    assert not page.locator("#controls").is_visible()
    assert page.locator("#gallery").is_visible()


RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}


@pytest.mark.parametrize(("scheme", "rules"), [("light", RULES), ("dark", CONTRAST)])
def test_axe_finds_nothing(page, scheme, rules):
    """With everything unfolded and explained, as pictures and as a table."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.emulate_media(color_scheme=scheme)
    page.locator("[name=index]").fill("0-5")
    page.locator("details:not(.help)").evaluate_all("all => all.map((d) => { d.open = true; })")
    page.locator("details.help > summary").first.click()
    for view in ("gallery", "table"):
        page.locator("[name=view]").select_option(view)
        page.get_by_role("button", name=re.compile("^explain input")).first.click()
        found = axe.run(page, options=rules)
        assert found.violations_count == 0, found.generate_report()
    # It is not blind.
    page.evaluate(
        "document.body.innerHTML = '<p style=\"color: #888; background: #777\">Some words</p>'"
    )
    assert "color-contrast" in axe.run(page, options=CONTRAST).generate_snapshot()
