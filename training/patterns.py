"""Sentences put together from parts, for training: more wordings than a list can hold.

A list of wordings teaches which word goes with which task, and "have we got here" then asks for a caption wherever it
stands. In patterns each part meets each other one. `[a|b|]` is one of these or nothing, `[name]` one of `PARTS`.
"""

import re

PARTS = {
    "things": "objects|things|items|objects|things|different things|separate objects|things in all|objects in all",
    "thing": "object|thing|item|one",
    # After "what", "which thing", "how many objects".
    "seen": (
        "do you see|can you see|do we see|can we see|can i see|do i see|do we have|have we got|have you got"
        "|do you have|do you find"
        "|can you find|did you find|have you found|do you notice|did you see|have you seen|could you find|can be seen"
        "|can be found|does the picture show|does this show|does the picture have|does it show|would you say we have"
    ),
    "are": "are there|are there|are|are shown|are visible|are to be seen|are seen|are placed|there are",
    "is": "is|is there|stands|lies|is shown|is placed|is visible|is seen|is to be seen|sits|has been put|was put",
    "here": "||here|here|in the picture|in this picture|there|in it|in this|on the picture|in all|at all",
    # Before an indirect question.
    "ask": (
        "tell me|say|can you tell me|could you tell me|do you know|i want to know|can you say"
        "|i would like to know|let me know"
        "|please tell me|please say|would you know|i need to know|could you say|show me in words"
        "|give me in words|find out"
    ),
    "picture": "the picture|this picture|it|this|all of it|the whole picture",
    "want": (
        "i want|i need|we want|we need|i would like|we would like|i want to have|i want to see"
        "|i would like to see|let us have"
        "|let me have|give me|could we have|can we have|can i have|could i have|how about|let there be|get me"
        "|show me|let me see"
    ),
    "can": "|||can you|could you|would you|will you|please|i want you to|i would like you to|let us|you should|now",
    "me": "||||for me|for us|please|now|too",
    "place_of": "at|in|on|to|into",
    "called": "kind of place|place|background|sort of place|scene",
}

PATTERNS = {
    "caption": [
        "what [seen] [here]?",
        "what is [|it that is|there that is] [shown|seen|visible|here|there|to be seen|going on|happening] [here]?",
        "[ask] what [you see|we see|you can see|is here|is there|this is|it is|it shows|this shows|is shown] [here]",
        "[can] [describe|explain|sum up|talk about|caption] [[picture]|what you see|what is here|what we see"
        "|what is shown]",
        "[ask] what [you notice|you find|the picture shows|we have got|is to be seen|this is about] [here]",
        "[a|one|give me a|write a|i need a|i want a] [short|] [caption|description] [of|for] [picture]",
        "what [would you say|do you think] [this is|it is|is here|it shows|you see] [here]?",
        "[picture]: what [is it|do you see|is shown|is it of]?",
        "what things [seen] [here]?",
    ],
    "dense": [
        "[can] [describe|list|name|give] [everything|all things|all objects|each thing|each object] [and|with]"
        " its place",
        "[ask] where [everything|each thing|each object|it all] is [here]",
        "[ask] what is where [here]",
        "where [exactly|] [are|do you see|can we see|do we have] [all|] [the|of the] [things|objects] [here]?",
        "[can] [describe|explain|caption] [[picture]|everything|what you see|what is here] in [|full|all] detail",
        "what [seen] [here], and where?",
        "[can] [say|name|list|tell me] [what you see|all you see|everything|all that is here] and where it is",
        "[a|give me a|i want a|i need a] [long|full|whole] [caption|description] [of|for] [picture]",
        "[what] [things|objects] [are|do you see|are there] [here], and [where|at what places]?",
    ],
    "exists": [
        "[do you see|can you see|do we see|can we see|have we got|have you got|do you find|did you find]"
        " {a_name} [here]?",
        "[have you found|did you see|have you seen|do we have|can i see|could you see|do you notice] {a_name} [here]?",
        "[does the picture show|does this show|does the picture have|does it have|does this have] {a_name} [|at all]?",
        "is [there|] {a_name} [shown|visible|to be seen|seen|there|] [here]?",
        "[ask] if [there is|you see|we have|you find|you can see|it has|it shows|the picture has] {a_name} [here]",
        "[can|could] {a_name} be [seen|found] [here]?",
        "{a_name}: [is there one|do you see one|have we got one|can you see it|is it there] [here]?",
        "is one of the [things] {a_name}?",
        "[is it true that|would you say|do you think|can it be that] there is {a_name} [here]?",
        "is {a_name} [among|one of|with] the [things] [here]?",
    ],
    "count": [
        "how many [things] [seen] [here]?",
        "how many [things] [are] [here]?",
        "how many [are there|do you see|have we got|can be seen|do we have|can you find] [here]?",
        "[ask] how many [things] [there are|you see|we have|are here|you can see|it has|can be seen|you find] [here]",
        "[can] count [the|all|all the|all of the|each of the|] [things] [here]",
        "[can] count [everything|it all|all you see|what is here|what you see|all that is there] [here]",
        "[what is|tell me|give me|say|i want|i need] the [number|count] of [things] [here]?",
        "what [number|count] of [things] [seen] [here]?",
        "[the|] [number|count] of [all|the|] [things] [here]",
        "[picture]: how many [things] [has it|are there|do you see|]?",
    ],
    "count_name": [
        "how many {names} [seen] [here]?",
        "how many {names} [are] [here]?",
        "how many of [the things|the objects|them|these|what you see] are {names}?",
        "[ask] how many {names} [there are|you see|we have|are here|you can see|it has|can be seen|you find] [here]",
        "[can] count [the|all|all the|all of the|each of the|] {names} [here]",
        "[what is|tell me|give me|say|i want|i need] the [number|count] of {names} [here]?",
        "what [number|count] of {names} [seen] [here]?",
        "{names}: [what is the count|how many have we got|how many do you see|what number]?",
        "[the|] [number|count] of [all|the|] {names} [here]",
    ],
    "color": [
        "[what|which] color [is|has|is there on|do you see on|does it say for] [the|that|this] {name} [here]?",
        "[what|which] color does [the|that|this] {name} [have|show|look to be] [here]?",
        "[what|which] color [would you say|do you think|would you call] [the|that|this] {name} [is|]?",
        "[ask] [what|which] color [the|that|this] {name} [is|has] [here]",
        "[ask] the color of [the|that|this] {name} [here]",
        "[in|of] [what|which] color [is|do you see|have we got|do we see] [the|that|this] {name}?",
        "what is the color [of|on] [the|that|this] {name} [here]?",
        "the {name}: [which|what] color [is it|has it|does it have|]?",
        "[ask] in [what|which] color [the|that] {name} is [here]",
        "what color is it that [the|that] {name} has?",
    ],
    "is_color": [
        "is [the|that|this] {name} [|really|shown in|seen in|of the color|one that is] {color} [here]?",
        "[ask] if [the|that|this] {name} [is|looks|is really] {color} [here]",
        "[do you think|would you say|is it true|can it be|is it right] [that|] [the|this] {name} is {color}?",
        "does [the|that|this] {name} [look|have the color|show the color] {color} [here]?",
        "is the color of [the|that|this] {name} {color} [here]?",
        "[do you see|can you see|have we got|do we see|can we see|do you find] the {name} in {color} [here]?",
        "[the|that|this] {name} [is|has the color|looks] {color}, [right|is it|true|no]?",
        "{color}: is that [the|] color of the {name}?",
    ],
    "place": [
        "where [is|do you see|can you see|have we got|do we see|can we see|can i see|do you find|did you put]"
        " the {name} [here]?",
        "where [stands|lies|sits|would you say is|do you think is|can we find|can i find|could i find]"
        " the {name} [here]?",
        "where [does|did] the {name} [stand|lie|sit|go|end|live] [here]?",
        "where [is|was] [the|that|this] {name} [placed|put|shown|seen|found|to be found|to be seen] [here]?",
        "where has [the|that|this] {name} [been put|been placed|been seen|been shown|gone] [here]?",
        "[ask] where [the|that|this] {name} [is|stands|lies|sits|was put|is shown|can be seen|went] [here]",
        "[at|in|on|to] [what|which] [place|part|side|spot] [is|do you see|do we see|stands|have we got]"
        " the {name} [here]?",
        "[what|which] [place|part|side] [has|is that of|is the place of|shows] the {name}?",
        "[ask] the place [of|for] [the|that] {name} [here]",
        "what is the place of [the|that|this] {name} [here]?",
        "the {name}: [where is it|where do you see it|what place|in which part]?",
        "can you say where the {name} [has been put|has gone|is placed|is] [here]?",
    ],
    "at": [
        "[what|which thing|which object|what thing|what object] [seen] [at|in|on] the {cell}?",
        "[what|which thing|which object|what thing] [is] [at|in|on] the {cell}?",
        "[ask] [what|which thing|which object] [is|stands|you see|we have|lies|there is] [at|in|on] the {cell}",
        "[at|in|on] the {cell}, [what|which thing] [is there|do you see|can we see|have we got|is it]?",
        "[can] name [the [thing]|what is|what you see|the thing that is] [at|in] the {cell}",
        "the {cell}: [what is it|what is there|which thing|what do you see]?",
        "[which|what] one of the [things] is [at|in|on] the {cell}?",
        "look [at|in] the {cell}: what [seen]?",
    ],
    "relation": [
        "[is|stands|lies|sits] [the|that|this] {name} {relation} [the|that|this] {other} [here]?",
        "is [the|that] {name} [placed|shown|seen|put|really|found|one that is] {relation} [the|that] {other} [here]?",
        "does [the|that] {name} [stand|lie|sit|have its place|look to be] {relation} [the|that] {other} [here]?",
        "[ask] if [the|that] {name} [is|stands|lies|sits|is placed] {relation} [the|that] {other} [here]",
        "[do you think|would you say|is it true|can it be|is it right] [that|] the {name} is {relation} the {other}?",
        "[do you see|can you see|have we got|do we see|can we see|do you find]"
        " the {name} {relation} the {other} [here]?",
        "the {name}: [is it|does it stand|do you see it|does it lie] {relation} the {other}?",
        "the {name} [is|stands|lies] {relation} the {other}, [right|is it|true|no]?",
    ],
    "neighbor": [
        "[what|which thing|which object|what thing|what object] [seen] {relation} the {name} [here]?",
        "[what|which thing|which object|what thing] [is] {relation} [the|that|this] {name} [here]?",
        "[ask] [what|which thing|which object] [is|stands|you see|we have|lies|there is] {relation} the {name} [here]",
        "{relation} the {name}, [what|which thing] [is there|do you see|can we see|have we got|is it|lies there]?",
        "[can] name [the [thing]|what is|what you see|what lies] {relation} the {name} [here]",
        "[what|which] one of the [things] [is|stands|lies] {relation} the {name}?",
    ],
    "bigger": [
        "[which|what|who|which one|which of the two|which thing] is [bigger|larger|the bigger|the larger"
        "|the bigger one]"
        "[,|: |] the {name} or the {other}?",
        "[ask] [which|what|which one|which of the two] is [bigger|larger|the bigger one], the {name} or the {other}",
        "[of|between|among] the {name} and the {other}, [which|what|which one] is [bigger|larger|the larger one]"
        " [here]?",
        "[which|what|which one] [has|shows] the [bigger|larger] size, the {name} or the {other}?",
        "[which|which one] would you [say|call] [is|the] [bigger|larger], the {name} or the {other}?",
        "the {name} or the {other}: [which|what|which one] is [bigger|larger|the bigger one] [here]?",
        "is it the {name} or the {other} that is [bigger|larger] [here]?",
        "[can] [name|say] the [bigger|larger] of the {name} and the {other}",
    ],
    "biggest": [
        "[what|which] [thing] [here|there|] is [the|] [biggest|largest] [of all|] [here]?",
        "[what|which] is the [biggest|largest] [thing] [you see|we have|of all|that you see|] [here]?",
        "[ask] [what|which thing|which object|which one] is the [biggest|largest] [here]",
        "[ask] [what|which] the [biggest|largest] [thing] is [here]",
        "[of all|of all the|of the|among the] [things], [which|what] is the [biggest|largest] [here]?",
        "[which|what] [of the things|of the objects|thing|object|one] has the [biggest|largest] size [here]?",
        "[can] name the [biggest|largest] [thing] [of all|] [here]",
        "which [thing] would you call the [biggest|largest] [here]?",
        "what [biggest|largest] [thing] [seen] [here]?",
    ],
    "background": [
        "[what|which] [called] [seen] [here]?",
        "[what|which] [called] [is|is shown|is this|is it|is that|are we in|is behind it] [here]?",
        "[ask] [what|which] [called] [this is|it is|you see|we see|is shown|we are in|is behind it] [here]",
        "where [are we|was this taken|was it taken|does this take place|is all of this|is it all|is this] [|then"
        "|here]?",
        "[ask] where [this is|we are|this was taken|it was taken|it all takes place]",
        "what [seen] [in the background|behind the things|behind the objects|behind it all|behind everything]?",
        "what [is] [in the background|behind the things|behind the objects|behind it all|behind everything]?",
        "[can] [name|describe|explain|say] the [background|place|scene behind it] [here]",
        "[on|in front of|against] what [are|do we see|do you see|stand] [all|] the [things] [here]?",
        "what is the [place|background|scene] [of|in] [picture]?",
        "the [background|place]: what is it?",
    ],
    "segment": [
        "[can] [segment|mark|select|highlight|outline|trace|mask|cover|cut out|point to|point at|find] {phrase} [here]",
        "[can] [show|find|mark|outline] [me|] where {phrase} [is|can be seen|stands|lies] [here]",
        "[can] [make|draw|give me|get|create|show me|find|put|i want|i need] [a|the|one] mask [of|for|over|on"
        "|around] {phrase}",
        "[which|what] [pixels|part|pixels of the picture] [are|is|show|has|belong to|make up|are part of]"
        " {phrase} [here]?",
        "where exactly [is|do you see|can we see|have we got|do we have|is it that you see] {phrase} [here]?",
        "[can] [draw|put|make|set] [a line|an outline|a mark] [around|on|over] {phrase} [here]",
        "[can] [mark|select|segment|mask|cover|find|highlight|color in] [all of|only|just|the pixels of"
        "|each pixel of] {phrase}",
        "[can] show [me|us|] [|exactly] [the pixels of|which part is|what part shows] {phrase}",
        "[want] {phrase} [marked|segmented|as a mask|outlined|highlighted] [me]",
    ],
    "draw": [
        "[can] [draw|make|create|generate|paint|sketch|show] [me|us|] [a picture of|an image of|a picture with|]"
        " {caption} [me]",
        "[want] [a|one|a new] [picture|image|drawing] [of|with|that shows] {caption} [me]",
        "[want] {caption} [in a picture|as a picture|in a new picture|]",
        "[a|one|a new] [picture|image|drawing] [of|with|that shows] {caption} [me]",
        "{caption}: [draw it|make it|make a picture|paint that|a picture please]",
        "[can] [put|place|show|draw|paint] {caption} in a [new|] [picture|image]",
    ],
    "remove": [
        "[can] [remove|delete|erase|drop|clear|cut|take away|leave out|take out|wipe out|get rid of"
        "|do away with] {phrase} [me]",
        "[can] [remove|delete|erase|clear|take|get|cut|wipe|move|have] {phrase} [out|away] [|from the picture"
        "|from here|from it]",
        "[can] [make|let|have] {phrase} [go|go away|gone|be gone] [me]",
        "[want] [the picture|it|this|everything] without {phrase} [me]",
        "[i want|i need|we want|i would like|we need] {phrase} [gone|out|removed|away|to go|out of it|taken out] [me]",
        "{phrase} [should|can|could|has to] [go|be removed|be gone|go away|not be here|not be there] [me]",
        "[i|we] do not [want|need|like] [to see|to have|] {phrase} [here]",
        "there should [not be|be no] [|more of] {phrase} [here]",
        "[no|no more of] {phrase} [here], please",
        "[can] [make|show|draw] [the picture|it|this] without {phrase}",
    ],
    "add": [
        "[can] [add|put|put in|draw|insert|place|paint|set|make|create|bring in|show] {a_name} [place_of]"
        " the {cell} [me]",
        "[want] {a_name} [at|in|on] the {cell} [me]",
        "[at|in|on] the {cell}, [add|put|draw|i want|there should be|i need|we want|place|let there be] {a_name} [me]",
        "there [should|could|has to] be {a_name} [at|in|on] the {cell} [me]",
        "[the {cell} should have|let the {cell} have|the {cell} needs|give the {cell}] {a_name} [me]",
        "{a_name} [should be|goes|has to be|could be|for|please, at|is what i want at] the {cell}",
        "[one more|a new|another] thing [at|in] the {cell}: {a_name}",
    ],
    "add_anywhere": [
        "[can] [add|put in|draw|insert|place|paint|bring in|create] {a_name} [|somewhere|in the picture"
        "|to the picture|here|too]",
        "[want] {a_name} [in the picture|in it|too|as well|somewhere|here]",
        "there [should|could|has to] be {a_name} [too|in the picture|in it|as well|somewhere]",
        "[can] put {a_name} [in the picture|in it|somewhere|in there|with the others]",
        "[the picture|it|this] [should have|needs|could have|has to have] {a_name} [|too|as well]",
    ],
    "recolor": [
        "[can] [make|color|turn|dye|paint|set|change|recolor] {phrase} [|to|in|to be|so that it is] {color} [me]",
        "[can] [change|make|set|turn] the color of {phrase} [to|to be|into] {color} [me]",
        "[want] {phrase} [|to be|in|painted|to look|to have the color] {color} [me]",
        "{phrase} [should|has to|could] [be|look|be painted|be in|have the color|turn] {color} [me]",
        "[can] give {phrase} [the color|a color that is] {color} [me]",
        "[can] [use|take|put] {color} [for|on|as the color of] {phrase} [me]",
        "{phrase}: [make it|in|turn it|let it be|now in] {color}",
        "[let|have] {phrase} [be|turn|look] {color} [me]",
        "[the new color of|the color of|the color for] {phrase} [is|should be|has to be] {color}",
    ],
    "replace": [
        "[can] [replace|swap|exchange|trade] {phrase} [with|for] {a_name} [me]",
        "[can] [turn|make|change] {phrase} [into|to] {a_name} [me]",
        "[can] [put|draw|place|add|have|use|get] {a_name} [in place of|instead of|where we see|for] {phrase} [me]",
        "[want] {a_name} [instead of|in place of|in the place of] {phrase} [me]",
        "[want] {a_name} where {phrase} [is|stands|lies|was|is now] [me]",
        "instead of {phrase}, [draw|put|i want|let us have|make|we need|there should be|show] {a_name} [me]",
        "where {phrase} [is|stands|lies|was], [put|draw|i want|there should be|make|place|add] {a_name} [me]",
        "{phrase} [should|has to|could] [be|become|turn into|be replaced with|make room for] {a_name} [me]",
        "[can] [remove|take out|delete|erase] {phrase} and [put|draw|add|place] {a_name} [there|in its place|here]",
        "let {a_name} [take the place of|stand for|be where we see] {phrase} [me]",
        "{phrase} [out|away], {a_name} in",
    ],
    "move": [
        "[can] [move|bring|put|place|take|send|drag|get|push|shift|set|carry] {phrase} [over|] [to|at|in|into"
        "|on] the {cell} [me]",
        "[want] {phrase} [at|in|on|over at|moved to|placed at|to be at|to go to] the {cell} [me]",
        "{phrase} [should|has to|could] [be|stand|lie|go|be placed|move|be moved|sit] [at|to|in|on] the {cell} [me]",
        "[let|have|make] {phrase} [go to|be at|stand at|move to|be in] the {cell} [me]",
        "[can] change [the place of {phrase}|where {phrase} is] to the {cell} [me]",
        "[the {cell} is|make the {cell}|let the {cell} be] the [new|] place [for|of] {phrase}",
        "{phrase}: [to|at|move it to|put it at|bring it to|it should be at] the {cell}",
        "[at|to|in] the {cell}, [i want|put|place|move|i need|bring] {phrase} [me]",
    ],
    "move_background": [
        "[can] [put|show|place|set|move|make|draw|have|take] [it|everything|it all|all of it|the things"
        "|all things] {place} [me]",
        "[want] [it|everything|it all|all of it|the things|this] [to be|] {place} [me]",
        "[it|everything|it all|all of it|all of this] [should|has to|could] [be|take place|be put|be shown"
        "|stand] {place} [me]",
        "[let|have] [it|everything|all of it|the things] be {place} [me]",
        "[can] [change|make|set|turn] the [background|place] [so that it is|to be|into one|to one] {place} [me]",
        "[a|the] new [background|place]: [it is|all of it|put it|make it|] {place}",
        "the [background|place] [should|has to|could] be [one|] {place} [me]",
        "[can] [keep the things|change the background] [and|but] put [them|everything|it] {place} [me]",
    ],
}

_CHOICE = re.compile(r"\[([^\[\]]*)\]")  # the innermost


def fill(pattern: str, pick) -> str:
    """The pattern with one of each choice, by `pick` from a list; placeholders in braces stay."""
    while choice := _CHOICE.search(pattern):
        options = PARTS.get(choice[1], choice[1]).split("|")
        pattern = pattern[: choice.start()] + pick(options) + pattern[choice.end() :]
    words = " ".join(pattern.split())
    return re.sub(r" ([,:?])", r"\1", words)
