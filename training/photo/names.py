"""Plain nouns that tokens are named with, no two of one meaning: of captions, and of the encoder's own classes."""

from pathlib import Path

CLASSES = 1000
CLASS_NOUNS = Path(__file__).with_name("class_nouns.txt")

FOREGROUND = """
person man woman boy girl child baby crowd player dog cat horse cow sheep bird duck elephant bear zebra
giraffe monkey rabbit fish insect butterfly flower plant fruit vegetable food pizza cake bread drink cup
bottle plate bowl knife ball basketball football frisbee hat helmet shirt jacket coat dress pants shoes
glasses mask bag backpack suitcase umbrella car truck bus train motorcycle bicycle boat ship airplane wheel
skateboard surfboard snowboard skis sled kite rope stick flag sign bench chair couch table bed lamp clock
phone camera computer television book paper box basket toy balloon guitar piano drum microphone swing slide
tent statue fountain tower castle church house door window ladder hand face
"""
BEHIND = """
sky clouds sun sea lake river pool waves beach sand snow ice grass field forest trees leaves mountain hill
rocks cliff dirt mud road street sidewalk path bridge stairs building city wall fence floor carpet ceiling
kitchen stage fire smoke shadow night
"""

THINGS = FOREGROUND.split()
BACKGROUNDS = BEHIND.split()

WORDS = {  # other words of captions for the same
    "person": "people somebody someone individual pedestrian hiker climber skier snowboarder surfer rider runner",
    "man": "men guy guys gentleman fisherman",
    "woman": "women lady ladies",
    "child": "children kid kids toddler toddlers",
    "baby": "babies infant",
    "crowd": "audience spectators",
    "player": "players athlete athletes team quarterback batter pitcher",
    "dog": "puppy puppies poodle greyhound greyhounds retriever terrier collie dalmatian bulldog",
    "cat": "kitten kittens",
    "horse": "pony ponies",
    "bird": "birds seagull seagulls pigeon pigeons",
    "bicycle": "bike bikes bmx",
    "motorcycle": "motorbike dirtbike motocross",
    "boat": "raft canoe kayak kayaks kayaker",
    "hat": "cap",
    "shirt": "tshirt sweater sweatshirt jersey uniform",
    "pants": "jeans shorts",
    "glasses": "sunglasses goggles",
    "sea": "ocean",
    "river": "stream creek waterfall",
    "lake": "pond",
    "waves": "wave surf",
    "grass": "grassy lawn yard",
    "snow": "snowy",
    "sand": "sandy",
    "forest": "woods wooded",
    "trees": "tree",
    "rocks": "rock rocky boulder boulders stone stones",
    "mountain": "mountains mountainside",
    "hill": "hills hillside slope",
    "leaves": "leaf",
    "stairs": "steps staircase",
    "road": "highway",
    "dirt": "mud muddy dusty dust",
    "sign": "signs",
    "chair": "armchair",
    "couch": "sofa",
    "building": "buildings skyscraper",
    "skis": "ski",
    "phone": "cellphone",
    "food": "meal",
    "slide": "slides",
    "toy": "toys",
}


def class_nouns() -> list[str]:
    """The noun of each of the encoder's classes, in ImageNet's order; "" for clothes: who wears them is to be named."""
    nouns = [""] * CLASSES
    for line in CLASS_NOUNS.read_text().splitlines():
        noun, ranges = line.split(": ")
        for part in ranges.split():
            first, last = (int(number) for number in (part.split("-") * 2)[:2])
            nouns[first : last + 1] = [noun] * (last + 1 - first)
    return nouns
