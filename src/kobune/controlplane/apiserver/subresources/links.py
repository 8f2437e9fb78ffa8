"""Links in what a proxied server answers, made to lead through the proxy again. Source: upstream apimachinery, util/proxy."""

import html
import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit, urlunsplit

# Which attributes of which elements hold an address. Source: the HTML standard, its index of attributes.
ADDRESSES: Mapping[str, Collection[str]] = {
    "a": ("href",), "applet": ("codebase",), "area": ("href",), "audio": ("src",), "base": ("href",),
    "blockquote": ("cite",), "body": ("background",), "button": ("formaction",), "command": ("icon",),
    "del": ("cite",), "embed": ("src",), "form": ("action",), "frame": ("longdesc", "src"), "head": ("profile",),
    "html": ("manifest",), "iframe": ("longdesc", "src"), "img": ("longdesc", "src", "usemap"),
    "input": ("src", "usemap", "formaction"), "ins": ("cite",), "link": ("href",),
    "object": ("classid", "codebase", "data", "usemap"), "q": ("cite",), "script": ("src",), "source": ("src",),
    "video": ("poster", "src"),
}  # fmt: skip
# No part of it can be matched in two ways or looks far ahead, so that no page takes long.
_TAG = re.compile(
    r"""<!--(?:.*?-->|.*\Z)|<([a-z][a-z0-9]*)((?:[^<>"']|"[^"]{0,8192}"|'[^']{0,8192}')*+)>""",
    re.DOTALL | re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"""([^\s"'=<>/]+)(\s*=\s*)("[^"]*"|'[^']*'|[^\s"'>]+)""")


def through(prefix: str, page: str, hosts: Collection[str]) -> str:
    """The page, its links of this server led through `prefix`.

    Args:
        prefix: the path under which the server is proxied, without a slash at its end.
        hosts: the server's names, as links may spell them.
    """

    def tag(match: re.Match[str]) -> str:
        wanted = ADDRESSES.get((match[1] or "").lower(), ())
        if not wanted:
            return match[0]

        def attribute(found: re.Match[str]) -> str:
            name, equals, value = found[1], found[2], found[3]
            if name.lower() not in wanted:
                return found[0]
            address = html.unescape(value[1:-1] if value[0] in "\"'" else value)
            return f'{name}{equals}"{html.escape(link_through(prefix, address, hosts))}"'

        return f"<{match[1]}{_ATTRIBUTE.sub(attribute, match[2])}>"

    return _TAG.sub(tag, page)


def link_through(prefix: str, address: str, hosts: Collection[str]) -> str:
    """One address: relative ones, those of other servers and those that have the prefix already stay as they are."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    if (parts.netloc and parts.netloc not in hosts) or not parts.path.startswith("/"):
        return address
    path = parts.path if parts.path.startswith(prefix) else prefix + parts.path
    return urlunsplit(("", "", path, parts.query, parts.fragment))
