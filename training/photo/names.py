"""Plain nouns that tokens are named with, no two of one meaning: of the phrases, and things of other photos."""

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
