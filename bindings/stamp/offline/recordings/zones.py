"""Zones: the places of a shop that ask for recommendations, and how each asks."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...base.checks import share, whole_number
from ...data.objectives import weights_of
from ...serving.recommender import RuleList

_EXCLUDE = ("nothing", "anchor", "seen")


@dataclass(frozen=True, kw_only=True)
class Zone:
    """How one place of a shop asks.

    Parameters
    ----------
    name : str
    k : int
        Products to list.
    history : int, optional
        The last events that are read; what the bundle's zone or the model says where absent.
    exclude : {"nothing", "anchor", "seen"}
        What is not to be listed: nothing, the current product (a product page does not show itself), or every product
        of the visit so far.
    rules : list of dict
        Of each request (docs/rules.md).
    bundle_zone : str, optional
        Name of the bundle's zone whose rules apply besides.
    value, tail : float, optional
    objective : dict of str to float, optional
        As of :meth:`Recommender.recommend`; what the bundle's zone says where absent.
    after : collection of str
        Asked only after events of these types; needs the column `event_type`.
    earlier_sessions : bool
        What the same visitor did before, in training and in other sessions of those replayed, is read too, and the
        question before the first event of a session is asked where there is any; needs the column `visitor_id`.

    Raises
    ------
    ValueError
        A value cannot be.
    """

    name: str
    k: int = 20
    history: int | None = None
    exclude: str = "nothing"
    rules: RuleList = ()
    bundle_zone: str | None = None
    value: float | None = None
    tail: float | None = None
    objective: Mapping[str, float] | None = None
    after: Collection[str] = ()
    earlier_sessions: bool = False

    def __post_init__(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise ValueError(f"Zone: name is {self.name!r}, expected a text")
        whole_number(f"Zone '{self.name}': k", self.k, least=1)
        if self.history is not None:
            whole_number(f"Zone '{self.name}': history", self.history, least=1)
        for name in ("value", "tail"):
            if getattr(self, name) is not None:
                share(f"Zone '{self.name}': {name}", getattr(self, name))
        if self.objective is not None:
            weights_of(f"Zone '{self.name}'", self.objective)
        if self.exclude not in _EXCLUDE:
            raise ValueError(f"Zone '{self.name}': exclude is {self.exclude!r}, expected one of {', '.join(_EXCLUDE)}")
        if isinstance(self.after, str):
            raise ValueError(f"Zone '{self.name}': after is {self.after!r}, expected a collection of event types")


def product_page(**changes: Any) -> Zone:
    """A product's page: the current product is the anchor, and is not in its own list.

    Examples
    --------
    >>> from stamp import offline
    >>> offline.product_page(k=10).exclude
    'anchor'
    """
    return _zone("product page", changes, exclude="anchor")


def home(**changes: Any) -> Zone:
    """A home page: no product is on it, the history alone decides, that of earlier sessions included."""
    return _zone("home", changes, earlier_sessions=True)


def cart(**changes: Any) -> Zone:
    """A cart: asked after a product was put into it, for products that the visitor has not seen in this visit."""
    return _zone("cart", changes, after=("addtocart", "cart"), exclude="seen")


def _zone(name: str, changes: dict[str, Any], **defaults: Any) -> Zone:
    known = {field.name for field in dataclasses.fields(Zone)}
    for given in changes:
        if given not in known:
            raise ValueError(f"{name}: unknown option '{given}', expected one of {', '.join(sorted(known))}")
    return Zone(**{"name": name, **defaults, **changes})


def read_zones(given: Any) -> list[Zone]:
    """Of a JSON list: names of presets, or objects of the options of a zone, "like" the preset that they change. Raises
    ValueError, beginning with the place in the list, for what is none."""
    if not isinstance(given, list) or not given:
        raise ValueError("expected a JSON list of one zone or more")
    presets = {preset.__name__: preset for preset in (product_page, home, cart)}
    found = []
    for place, entry in enumerate(given):
        options = {"like": entry} if isinstance(entry, str) else entry
        if not isinstance(options, dict):
            raise ValueError(f"[{place}] is {entry!r}, expected a name or an object")
        like = options.get("like", "product_page")
        if like not in presets:
            raise ValueError(f"[{place}] is like {like!r}, expected one of {', '.join(presets)}")
        try:
            found.append(presets[like](**{name: value for name, value in options.items() if name != "like"}))
        except (TypeError, ValueError) as error:
            raise ValueError(f"[{place}]: {error}") from None
    return found


def listed_zones(call: str, zones: Any) -> list[Zone]:
    """A zone or several as a list. Raises ValueError where they are none, or two have one name."""
    given = [zones] if isinstance(zones, (Zone, str)) or not isinstance(zones, Iterable) else list(zones)
    listed = [zone for zone in given if isinstance(zone, Zone)]
    for zone in given:
        if not isinstance(zone, Zone):
            name = getattr(zone, "__name__", zone)
            preset = next((each for each in (product_page, home, cart) if name == each.__name__), product_page)
            raise ValueError(
                f"{call}: zones holds {zone!r}, expected stamp.offline.Zone, such as offline.{preset.__name__}()"
            )
    names = [zone.name for zone in listed]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{call}: zones are {names}, expected one or more, of different names")
    return listed
