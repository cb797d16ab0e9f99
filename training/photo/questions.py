"""Questions and answers made from captions and boxes, and answers about things that are not there."""

import random
import re
from collections import Counter, defaultdict

COLORS = (
    "black",
    "white",
    "brown",
    "red",
    "blue",
    "green",
    "yellow",
    "orange",
    "pink",
    "purple",
    "gray",
    "grey",
    "tan",
)
COUNTS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
PEOPLE = ("man", "woman", "boy", "girl", "child", "person", "baby", "lady")
THINGS = (
    "dog", "cat", "horse", "bird", "man", "woman", "boy", "girl", "child", "baby", "ball", "bike", "bicycle", "car",
    "boat", "skateboard", "surfboard", "snowboard", "water", "snow", "grass", "beach", "tree", "rock", "bench", "hat",
    "mountain", "stick", "toy", "frisbee", "swing", "pool", "crowd", "camera", "guitar", "motorcycle", "helmet", "tent",
)  # fmt: skip
WORN = ("shirt", "jacket", "coat", "dress", "pants", "shorts", "sweater", "suit", "uniform", "jersey", "skirt", "cap",
        "vest", "collar", "clothing", "hair", "swimsuit", "slide", "building", "wall", "kayak", "truck")  # fmt: skip
COLORED = frozenset((*THINGS, *WORN, "dogs", "cats", "horses", "birds", "shirts", "uniforms", "jackets"))
KINDS = {  # names that a caption may use for the thing that is asked for
    "man": {"person", "people", "men", "guy", "adult"}, "woman": {"person", "people", "women", "lady", "adult"},
    "boy": {"child", "kid", "children", "kids", "person", "people", "boys", "toddler", "baby"},
    "girl": {"child", "kid", "children", "kids", "person", "people", "girls", "toddler", "baby"},
    "child": {"boy", "girl", "kid", "children", "kids", "boys", "girls", "toddler", "baby", "people", "person"},
    "baby": {"toddler", "infant", "child", "kid", "children", "boy", "girl"},
    "bike": {"bicycle", "biker", "cyclist", "motorcycle", "biking"}, "bicycle": {"bike", "biker", "cyclist", "bikes"},
    "water": {"ocean", "lake", "river", "pool", "sea", "wave", "waves", "surfer", "swimming", "pond", "stream"},
    "snow": {"snowy", "ski", "skier", "snowboarder", "snowboard", "sled", "ice"}, "tree": {"trees", "forest", "woods"},
    "grass": {"grassy", "field", "lawn", "yard", "park"}, "beach": {"sand", "ocean", "shore", "sandy"},
    "mountain": {"mountains", "cliff", "hill", "hills"}, "rock": {"rocks", "rocky", "cliff", "boulder", "stone"},
    "pool": {"swimming"}, "crowd": {"people", "group", "audience"}, "motorcycle": {"bike", "motorbike", "dirtbike"},
    "ball": {"football", "soccer", "basketball", "baseball", "tennis", "volleyball"}, "hat": {"cap", "helmet"},
    "helmet": {"biker", "cyclist", "football", "hat", "motorcycle"},
}  # fmt: skip


def words(captions: list[str]) -> set[str]:
    return set(re.findall(r"[a-z]+", " ".join(captions).lower()))


def is_named(thing: str, said: set[str]) -> bool:
    return bool({thing, thing + "s", thing + "es"} & said)


def is_absent(thing: str, said: set[str]) -> bool:
    """Nobody named it, nor anything that it could be."""
    return not is_named(thing, said) and not KINDS.get(thing, set()) & said


def article(noun: str) -> str:
    return noun if noun in ("water", "snow", "grass") else f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def existence(captions: list[str], rng: random.Random) -> list[tuple[str, str]]:
    """One thing that is there and one that is not."""
    said = words(captions)
    present = [thing for thing in THINGS if is_named(thing, said)]
    absent = [thing for thing in THINGS if is_absent(thing, said)]
    pairs = []
    if present:
        thing = article(rng.choice(present))
        pairs.append((f"Is there {thing} in the photo?", f"Yes, there is {thing}."))
    if absent:
        thing = article(rng.choice(absent))
        pairs.append(
            (f"Is there {thing} in the photo?", f"No, there is no {thing.removeprefix('a ').removeprefix('an ')}.")
        )
    return pairs


def colors(captions: list[str]) -> list[tuple[str, str]]:
    """What colour a thing is, where two captions agree or one says it and none another."""
    found: dict[str, Counter] = defaultdict(Counter)
    for caption in captions:
        for color, thing in re.findall(rf"\b({'|'.join(COLORS)}) ([a-z]+)\b", caption.lower()):
            found[thing]["gray" if color == "grey" else color] += 1
    return [
        (
            f"What color {'are' if thing.endswith('s') and thing != 'grass' else 'is'} the {thing}?",
            f"{counts.most_common(1)[0][0].capitalize()}.",
        )
        for thing, counts in found.items()
        if thing in COLORED and len(counts) == 1
    ]


def counts(captions: list[str]) -> list[tuple[str, str]]:
    """How many of a thing, where at least two captions say a number and all say the same."""
    found: dict[str, Counter] = defaultdict(Counter)
    plural = {"dogs": "dog", "men": "man", "women": "woman", "boys": "boy", "girls": "girl", "horses": "horse"}
    for caption in captions:
        for number, noun in re.findall(
            r"\b(a|an|one|two|three|four|five|six)(?: [a-z]+)?? ([a-z]+)\b", caption.lower()
        ):
            single = plural.get(noun, noun)
            if single in plural.values() and (noun in plural) == (COUNTS[number] > 1):
                found[single][COUNTS[number]] += 1
    many = {single: noun for noun, single in plural.items()}
    return [
        (f"How many {many[thing]} are in the photo?", f"{NUMBERS[next(iter(numbers))].capitalize()}.")
        for thing, numbers in found.items()
        if len(numbers) == 1 and sum(numbers.values()) >= 2
    ]


def who_and_what(captions: list[str], rng: random.Random) -> list[tuple[str, str]]:
    """Who or what is seen and what it is doing, from a caption of the form 'A ... is ...ing ...'."""
    pairs = []
    for caption in rng.sample(captions, len(captions)):
        match = re.match(
            r"^((?:a|an|the|two|three) [a-z ]+?) (?:is|are) ([a-z]+ing\b[a-z ]*)", caption.strip(" .").lower()
        )
        if match:
            who, doing = match.group(1).strip(), match.group(2).strip()
            noun = who.split()[-1]
            if (
                noun not in THINGS
                and noun.removesuffix("s") not in THINGS
                and noun not in (*PEOPLE, "men", "women", "people")
            ):
                continue
            asks = "Who is in the photo?" if noun in PEOPLE else "What animal or thing is in the photo?"
            verb = "are" if who.startswith(("two", "three")) else "is"
            pairs += [(asks, who.capitalize() + "."), (f"What {verb} the {noun} doing?", doing.capitalize() + ".")]
            break
    return pairs


def questions(captions: list[str], rng: random.Random, most: int = 5) -> list[tuple[str, str]]:
    """Up to `most` pairs about a photo."""
    pairs = existence(captions, rng)
    others = colors(captions) + counts(captions) + who_and_what(captions, rng)
    rng.shuffle(others)
    return pairs + others[: most - len(pairs)]
