"""A page used by the keyboard alone, as somebody does who has no mouse: Tab, Enter, arrows and letters."""

from typing import Any

STOPS = 150  # of Tab, more than a page has
CALLED = """() => {
  const at = document.activeElement;
  return (at.labels?.[0]?.innerText || at.getAttribute("aria-label") || at.innerText || "").trim();
}"""


def focused(page: Any) -> str:
    """What the element that has the focus is called."""
    return page.evaluate(CALLED)


def go_to(page: Any, name: str) -> None:
    """Press Tab until the element has the focus whose name is or begins with this line."""
    for _ in range(STOPS):
        page.keyboard.press("Tab")
        if focused(page).split("\n")[0] == name:
            return
    raise AssertionError(f"{name} is not reached by the keyboard")


def press(page: Any, name: str) -> None:
    """Press a button."""
    go_to(page, name)
    page.keyboard.press("Enter")


def write(page: Any, name: str, text: str) -> None:
    """Replace the text of a field."""
    go_to(page, name)
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(text)


def open_lists(page: Any) -> int:
    """The number of lists that are open, once they have stopped moving."""
    page.wait_for_function("document.getAnimations().every(one => one.playState == 'finished')")
    return page.locator("[role=listbox]").count()
