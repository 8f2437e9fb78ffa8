"""What is an address is what Python's own reader takes, but for zeros in front, whichever way it is found out."""

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from kobune.api.validation.addresses import check_ip


def is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@given(
    st.lists(st.integers(0, 300) | st.sampled_from(["", "00", "01", " 1", "1\n", "+1", "١"]), min_size=3, max_size=5)
)
def test_four_numbers_below_256_are_an_address_and_nothing_else_is(parts):
    errors = []
    check_ip(text := ".".join(map(str, parts)), "ip", errors)
    assert (not errors) is is_address(text)
