"""How much is read at once follows the size of what was read."""

from __future__ import annotations

from tranship.connectors.pages import PAGE_BYTES, PageSize


def test_a_page_grows_step_by_step_to_what_fits() -> None:
    page = PageSize(10_000)
    sizes = []
    for _ in range(6):
        sizes.append(page.items)
        page.learn(page.items, page.items * 2_000)
    assert sizes == [4, 40, 400, 4_000, PAGE_BYTES // 2_000, PAGE_BYTES // 2_000]


def test_a_page_never_exceeds_what_is_allowed() -> None:
    page = PageSize(50)
    for _ in range(3):
        page.learn(page.items, 0)
    assert page.items == 50
    assert PageSize(2).items == 2


def test_a_page_shrinks_at_once_and_never_to_nothing() -> None:
    page = PageSize(1_000)
    page.learn(4, 100)
    page.learn(40, 40 * PAGE_BYTES)
    assert page.items == 1
